#include "trainer/nn/expert_orthogonality.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>

namespace switchyard::trainer {

namespace {

constexpr double kEpsilon = 1e-8;

at::Tensor Index(const std::vector<int64_t>& rows) { return at::tensor(rows, at::kLong); }

// Places in `rows` of those rows that are in `others`, too.
std::vector<int64_t> PlacesOfCommon(const std::vector<int64_t>& rows, const std::vector<int64_t>& others) {
  std::vector<int64_t> places;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (std::binary_search(others.begin(), others.end(), rows[i])) places.push_back(static_cast<int64_t>(i));
  }
  return places;
}

// One expert's rows on the tape: leaves, and the two parts of delta = Wd (h_e - h_0) + s Bd Ad h_e.
class Answer {
 public:
  Answer(const OrthogonalityPass& pass, const LoraBlock& lora, std::vector<int64_t> rows) : rows_(std::move(rows)), index_(Index(rows_)) {
    x_ = Leaf(pass.x);
    gate_ = Leaf(pass.gate);
    up_ = Leaf(pass.up);
    const at::Tensor h = at::silu(Add(gate_, lora.gate, x_)) * Add(up_, lora.up, x_);
    hidden_ = h - at::silu(gate_) * up_;
    if (lora.down) direct_ = Low(*lora.down, h);
    const at::Tensor inner = hidden_.detach().contiguous();
    at::Tensor delta = at::empty({inner.size(0), pass.x.size(1)}, at::kFloat);
    pass.down->Forward(inner.const_data_ptr<float>(), inner.size(0), delta.mutable_data_ptr<float>());
    if (direct_.defined()) delta.add_(direct_.detach());
    output_ = {rows_, delta.requires_grad_(true)};
  }

  const ExpertOutput& output() const { return output_; }

  void Back(const OrthogonalityPass& pass, const at::Tensor& ddelta, at::Tensor* dgate, at::Tensor* dup, at::Tensor* dx) {
    const at::Tensor d = ddelta.contiguous();
    at::Tensor dhidden = at::empty_like(hidden_);
    pass.down->Backward(d.const_data_ptr<float>(), d.size(0), dhidden.mutable_data_ptr<float>());
    std::vector<at::Tensor> outputs = {hidden_}, seeds = {dhidden}, leaves = {gate_, up_, x_};
    if (direct_.defined()) {
      outputs.push_back(direct_);
      seeds.push_back(d);
    }
    for (const auto& [parameter, leaf] : trained_) leaves.push_back(leaf);
    const auto grads = torch::autograd::grad(outputs, leaves, seeds, std::nullopt, false, /*allow_unused=*/true);
    const std::vector<at::Tensor*> sums = {dgate, dup, dx};
    for (size_t i = 0; i < sums.size(); ++i) {
      if (grads[i].defined()) sums[i]->index_add_(0, index_, grads[i]);
    }
    for (size_t i = 0; i < trained_.size(); ++i) {
      if (grads[i + 3].defined()) trained_[i].first.grad.add_(grads[i + 3]);
    }
  }

 private:
  at::Tensor Leaf(const at::Tensor& all) const { return all.index_select(0, index_).to(at::kFloat).detach().requires_grad_(true); }
  at::Tensor Value(const Parameter& parameter, bool trainable) {
    if (!trainable) return parameter.value;
    trained_.emplace_back(parameter, parameter.value.detach().requires_grad_(true));
    return trained_.back().second;
  }
  // s B A x
  at::Tensor Low(const LoraMatrix& lora, const at::Tensor& x) {
    const at::Tensor a = Value(lora.a(), lora.trainable()), b = Value(lora.b(), lora.trainable());
    return at::matmul(at::matmul(x, a.t()), b.t()) * lora.scale();
  }
  at::Tensor Add(const at::Tensor& y, const std::optional<LoraMatrix>& lora, const at::Tensor& x) { return lora ? y + Low(*lora, x) : y; }

  std::vector<int64_t> rows_;
  at::Tensor index_, x_, gate_, up_, hidden_, direct_;
  std::vector<std::pair<Parameter, at::Tensor>> trained_;
  ExpertOutput output_;
};

}  // namespace

at::Tensor OrthogonalityLoss(const std::vector<ExpertOutput>& outputs) {
  at::Tensor loss;
  for (size_t j = 0; j < outputs.size(); ++j) {
    for (size_t k = 0; k < outputs.size(); ++k) {
      if (j == k) continue;
      const std::vector<int64_t> mine = PlacesOfCommon(outputs[j].rows, outputs[k].rows);
      if (mine.empty()) continue;
      const at::Tensor a = outputs[j].delta.index_select(0, Index(mine)),
                       b = outputs[k].delta.index_select(0, Index(PlacesOfCommon(outputs[k].rows, outputs[j].rows)));
      const at::Tensor length = (b * b).sum(1, /*keepdim=*/true);
      const at::Tensor projected = (a * b).sum(1, /*keepdim=*/true) / (length + kEpsilon) * b;
      loss = loss.defined() ? loss + projected.square().sum() : projected.square().sum();
    }
  }
  return loss;
}

std::vector<std::vector<int64_t>> SharedRows(const Gates& gates, const std::vector<LoraBlock*>& experts) {
  std::vector<std::vector<int64_t>> shared(static_cast<size_t>(gates.experts));
  for (int64_t row = 0; row < gates.rows; ++row) {
    const auto answers = [&](int32_t e) { return gates.at(row, e) != 0 && !experts[e]->empty(); };
    int32_t count = 0;
    for (int32_t e = 0; e < gates.experts; ++e) count += answers(e);
    for (int32_t e = 0; count > 1 && e < gates.experts; ++e) {
      if (answers(e)) shared[e].push_back(row);
    }
  }
  return shared;
}

double OrthogonalityBackward(const OrthogonalityPass& pass, const Gates& gates, const std::vector<LoraBlock*>& experts, at::Tensor dgate,
                             at::Tensor dup, at::Tensor dx) {
  std::vector<std::vector<int64_t>> shared = SharedRows(gates, experts);
  c10::AutoGradMode grad(true);
  std::vector<Answer> answers;
  std::vector<ExpertOutput> outputs;
  std::vector<at::Tensor> deltas;
  for (size_t e = 0; e < shared.size(); ++e) {
    if (shared[e].empty()) continue;
    answers.emplace_back(pass, *experts[e], std::move(shared[e]));
    outputs.push_back(answers.back().output());
    deltas.push_back(outputs.back().delta);
  }
  if (answers.empty()) return 0;
  const at::Tensor loss = OrthogonalityLoss(outputs) * pass.scale;
  const auto grads = torch::autograd::grad({loss}, deltas);
  c10::AutoGradMode no_grad(false);
  for (size_t i = 0; i < answers.size(); ++i) answers[i].Back(pass, grads[i], &dgate, &dup, &dx);
  return loss.item<double>();
}

}  // namespace switchyard::trainer
