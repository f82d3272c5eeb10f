// One frame of `switchyard top`.
#pragma once

#include <string>

#include "client/terminal.h"
#include "switchyard/v1/admin.pb.h"

namespace switchyard::client {

// What happened between two looks. With an empty `before`, or one of another snapshot's experts, everything since the start.
struct TopFrame {
  v1::Utilisation before, now;
  v1::CatalogState state;
  v1::ListOperationsResponse operations;
  double seconds = 0;  // between the looks; 0: since the start
};

std::string TopView(const TopFrame& frame, const Style& style, size_t columns);

}  // namespace switchyard::client
