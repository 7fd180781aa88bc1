// What the code for a target cannot know of the CPU that runs it.
#pragma once

namespace fastbn {

// Whether 64-byte operations are two passes of 32-byte units, as Zen 4's are: a multiply-add then takes as long
// as a load, and shuffles run beside it.  That decides what pays, never what is computed.
bool halves_64_bytes();

// Says so of any CPU, or not so, until it is told to look again: tests run both ways of a product on one machine.
enum class HalfWidth { look, no, yes };
void assume_half_width(HalfWidth units);

}  // namespace fastbn
