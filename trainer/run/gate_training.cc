#include "trainer/run/gate_training.h"

#include <ATen/ATen.h>

#include "trainer/nn/sigmoid_gate.h"

namespace switchyard::trainer {

StatusOr<std::vector<at::Tensor>> TrainGate(TrainableModel& model, std::vector<LoraExpert>& experts, int32_t expert,
                                            const ModelConfig& base, const Dataset& data, const RunOptions& options, Communicator& world) {
  const auto gate = MakeSigmoidGate(base.num_layers, base.hidden_size, static_cast<int32_t>(experts.size()), expert);
  RunTask task;
  task.model = &model;
  task.experts = &experts;
  task.router = gate.get();
  task.parameters = gate->Parameters();
  RunOptions own = options;
  own.checkpoint_every = 0;
  const auto report = Train(task, data, /*validation=*/nullptr, own, world, /*log=*/nullptr);
  if (!report.ok()) return Annotate(report.status(), "gate of expert " + experts[expert].name);
  if (report->stopped) return Cancelled("stopped while the gate of expert %s was trained", experts[expert].name);
  std::vector<at::Tensor> vectors;
  for (const Parameter& parameter : task.parameters) vectors.push_back(parameter.value.detach().view({-1}).clone());
  return vectors;
}

}  // namespace switchyard::trainer
