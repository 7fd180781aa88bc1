// The one table of the C interface.
#pragma once

#include "fastbn/capi.h"

namespace fastbn {

const fastbn_capi& capi();

}  // namespace fastbn
