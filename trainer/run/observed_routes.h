// The routes of a data set, as the figures and the placement read them.
#pragma once

#include "engine/base/status.h"
#include "engine/stats/route_record.h"
#include "trainer/data/example.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

// One pass over `data`, example by example; tasks are the domains. Probabilities are not kept.
StatusOr<RouteRecord> RecordRoutes(TrainableModel& model, const RouterModule& router, const std::vector<LoraExpert>& experts,
                                   const Dataset& data);

}  // namespace switchyard::trainer
