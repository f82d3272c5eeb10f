// One expert alone, at a strength it learns: y = F(x) + sigmoid(<v, x>) delta(x), a vector v a layer. What PHATGOOSE (Muqeeth et al.,
// 2402.05859) trains for each expert by itself; v then says which inputs the expert is for.
#pragma once

#include <memory>

#include "trainer/nn/router_module.h"

namespace switchyard::trainer {

// Of expert `expert` among `experts`; no row goes to another one. v starts at 0: half strength everywhere. Parameters: a layer's is
// "layers.{l}.router.gate.{expert}" [1, H].
std::unique_ptr<RouterModule> MakeSigmoidGate(int32_t layers, int32_t hidden, int32_t experts, int32_t expert);

}  // namespace switchyard::trainer
