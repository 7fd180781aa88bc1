// What the code for a target cannot know of the CPU that runs it.
#pragma once

#include <optional>

namespace fastbn {

// What kind of core this is, by what pays on it, never by what is computed.
enum class Core {
  half,  // 64-byte operations are two passes of 32-byte units, as of Zen 4: a multiply-add takes as long as a load, and
         // shuffles run beside it
  whole,  // whole units: Zen 5, Ice Lake and whatever is not known
  deep  // likewise, with a window of 512 operations out of order, which hides loads across lines, and 2 MiB of L2:
        // Golden Cove and later (Intel's from Sapphire Rapids on)
};
Core core();

// Says so of any CPU, until it is told to look again (nullopt): tests run all ways of a product on one machine.
void assume_core(std::optional<Core> told);

// Whether all cores of this processor share one last cache, as Intel's do; of several sockets the nearest are meant.
bool has_one_last_cache();

}  // namespace fastbn
