// What the code for a target cannot know of the CPU that runs it.
#pragma once

namespace fastbn {

// Whether 64-byte operations are two passes of 32-byte units, as Zen 4's are: a multiply-add then takes as long
// as a load, and shuffles run beside it.  That decides what pays, never what is computed.
bool halves_64_bytes();

}  // namespace fastbn
