// What the code for a target cannot know of the CPU that runs it.
#pragma once

#include <optional>

namespace fastbn {

// How a core makes 64-byte operations.  That decides what pays, never what is computed.
enum class Core {
  half,  // in two passes of 32-byte units, as Zen 4: a multiply-add takes as long as a load, and shuffles run beside it
  whole,  // in whole units, as Zen 5 and Ice Lake
  deep  // likewise, with a window of 512 operations, which hides loads across lines: Golden Cove (Sapphire Rapids on)
};
Core core();

// Says so of any CPU, until it is told to look again (nullopt): tests run all ways of a product on one machine.
void assume_core(std::optional<Core> told);

// Whether CPUs of a machine may have last caches of their own, a few cores each, as AMD's have.
bool may_have_several_last_caches();

}  // namespace fastbn
