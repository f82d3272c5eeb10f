// The same model written as its formulas on LibTorch's autograd: every expert on every row, the whole tape in memory. Slow and obvious: the
// oracle of fast_model.cc.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "trainer/nn/expert_orthogonality.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

namespace {

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  return (weight * (wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps))).to(x.scalar_type());
}

// x [n, heads, dim]; cos and sin [n, dim / 2].
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor c = at::cat({cos, cos}, -1).unsqueeze(1).to(x.scalar_type()),
                   s = at::cat({sin, sin}, -1).unsqueeze(1).to(x.scalar_type());
  const int64_t half = x.size(-1) / 2;
  return x * c + at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1) * s;
}

// Causal, of one sequence: q [n, heads, dim], k and v [n, kv_heads, dim] -> [n, heads dim].
at::Tensor Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t n = q.size(0), group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1).permute({1, 2, 0}), values = v.repeat_interleave(group, 1).permute({1, 0, 2});
  const at::Tensor scores = at::matmul(q.permute({1, 0, 2}), keys).to(at::kFloat) / std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor hidden = at::ones({n, n}, at::kBool).tril().logical_not();
  const at::Tensor p = at::softmax(scores.masked_fill(hidden, -std::numeric_limits<float>::infinity()), -1).to(q.scalar_type());
  return at::matmul(p, values).permute({1, 0, 2}).reshape({n, q.size(1) * q.size(2)});
}

// The tape's leaves for the parameters, and their way back.
class Leaves {
 public:
  at::Tensor Of(const Parameter& parameter) {
    parameters_.push_back(parameter);
    leaves_.push_back(parameter.value.detach().requires_grad_(true));
    return leaves_.back();
  }
  void Differentiate(const at::Tensor& loss) {
    if (leaves_.empty()) return;
    const auto grads = torch::autograd::grad({loss}, leaves_, {}, std::nullopt, false, /*allow_unused=*/true);
    for (size_t i = 0; i < grads.size(); ++i) {
      if (grads[i].defined()) parameters_[i].grad.add_(grads[i]);
    }
  }
  // Parameters that are leaves themselves, as the routers' are.
  void Borrow(const Parameter& parameter) {
    parameters_.push_back(parameter);
    leaves_.push_back(parameter.value);
  }

 private:
  std::vector<Parameter> parameters_;
  std::vector<at::Tensor> leaves_;
};

class ReferenceModel final : public TrainableModel {
 public:
  ReferenceModel(const TrainCompute& compute, const BaseWeights& base, std::vector<LoraExpert>& experts, const ModelOptions& options)
      : dtype_(compute.dtype), base_(base), config_(base.config), experts_(experts) {
    if (!options.train_attention) return;
    for (size_t l = 0; l < base.layers.size(); ++l) {
      const std::string name = absl::StrFormat("model.layers.%d.self_attn.", l);
      attention_.push_back(MakeParameter(name + "qkv", base.layers[l].qkv, true));
      attention_.push_back(MakeParameter(name + "o_proj", base.layers[l].o, true));
    }
  }

  StatusOr<PassResult> ForwardBackward(const PackedBatch& batch, const RoutePlan& plan, const TrainPass& pass) override {
    c10::AutoGradMode grad(true);
    Leaves leaves;
    PassResult result;
    ASSIGN_OR_RETURN(const at::Tensor loss, Run(batch, plan, &pass, &leaves, &result, nullptr));
    if (!std::isfinite(result.loss)) return Internal("the loss of a batch of %d rows is not finite", batch.tokens.size());
    leaves.Differentiate(loss);
    return result;
  }

  StatusOr<PassResult> Evaluate(const PackedBatch& batch, const RoutePlan& plan, EvaluationDetail* detail) override {
    c10::AutoGradMode grad(false);
    Leaves leaves;
    PassResult result;
    RETURN_IF_ERROR(Run(batch, plan, nullptr, &leaves, &result, detail).status());
    return result;
  }

  std::vector<Parameter> Parameters() const override { return attention_; }
  void Repack() override {}

 private:
  at::Tensor Matrix(const at::Tensor& frozen, size_t index, Leaves* leaves) const {
    return (attention_.empty() ? frozen : leaves->Of(attention_[index])).to(dtype_);
  }

  at::Tensor Attention(size_t l, const at::Tensor& x, const PackedBatch& batch, const at::Tensor& cos, const at::Tensor& sin,
                       Leaves* leaves) const {
    const BaseLayer& layer = base_.layers[l];
    const auto bias = [&](const at::Tensor& b) { return b.defined() ? std::optional<at::Tensor>(b.to(dtype_)) : std::nullopt; };
    const at::Tensor qkv = at::linear(x, Matrix(layer.qkv, 2 * l, leaves), bias(layer.qkv_bias));
    const auto parts =
        qkv.view({x.size(0), -1, config_.head_dim}).split_with_sizes({config_.num_heads, config_.num_kv_heads, config_.num_kv_heads}, 1);
    at::Tensor q = parts[0], k = parts[1];
    if (config_.qk_norm) {
      q = RmsNorm(q, layer.q_norm, config_.rms_norm_eps);
      k = RmsNorm(k, layer.k_norm, config_.rms_norm_eps);
    }
    q = Rotate(q, cos, sin);
    k = Rotate(k, cos, sin);
    std::vector<at::Tensor> out;
    for (const PackedBatch::Segment& s : batch.segments) {
      out.push_back(Attend(q.slice(0, s.begin, s.end), k.slice(0, s.begin, s.end), parts[2].slice(0, s.begin, s.end)));
    }
    return at::linear(at::cat(out, 0), Matrix(layer.o, 2 * l + 1, leaves), bias(layer.o_bias));
  }

  at::Tensor Add(const at::Tensor& y, const std::optional<LoraMatrix>& lora, const at::Tensor& x, Leaves* leaves) const {
    if (!lora) return y;
    const at::Tensor a = lora->trainable() ? leaves->Of(lora->a()) : lora->a().value,
                     b = lora->trainable() ? leaves->Of(lora->b()) : lora->b().value;
    return y + at::matmul(at::matmul(x, a.to(dtype_).t()), b.to(dtype_).t()) * lora->scale();
  }

  at::Tensor Block(const BaseLayer& layer, const LoraBlock& lora, const at::Tensor& x, Leaves* leaves) const {
    const at::Tensor h = at::silu(Add(at::linear(x, layer.gate.to(dtype_)), lora.gate, x, leaves)) *
                         Add(at::linear(x, layer.up.to(dtype_)), lora.up, x, leaves);
    return Add(at::linear(h, layer.down.to(dtype_)), lora.down, h, leaves);
  }

  // y = F(x) + sum_e g_e (full_e(x) - F(x)), every expert on every row.
  // `outputs`, where not null, gets what the experts of shared rows said.
  at::Tensor Mixture(size_t l, const at::Tensor& x, const at::Tensor& gates, Leaves* leaves, std::vector<ExpertOutput>* outputs) const {
    const BaseLayer& layer = base_.layers[l];
    const at::Tensor plain = Block(layer, LoraBlock(), x, leaves);
    at::Tensor y = plain.to(at::kFloat);
    for (size_t e = 0; e < experts_.size(); ++e) {
      if (experts_[e].layers[l].empty()) continue;
      const at::Tensor delta = Block(layer, experts_[e].layers[l], x, leaves).to(at::kFloat) - plain.to(at::kFloat);
      y = y + gates.slice(1, static_cast<int64_t>(e), static_cast<int64_t>(e) + 1) * delta;
      if (outputs == nullptr) continue;
      const std::vector<int64_t> rows = RowsShared(l, gates, e);
      outputs->push_back({rows, delta.index_select(0, at::tensor(rows, at::kLong))});
    }
    return y.to(x.scalar_type());
  }

  std::vector<int64_t> RowsShared(size_t l, const at::Tensor& gates, size_t e) const {
    const at::Tensor plain = gates.detach().contiguous();
    const float* values = plain.const_data_ptr<float>();
    std::vector<LoraBlock*> blocks;
    for (LoraExpert& expert : experts_) blocks.push_back(&expert.layers[l]);
    return SharedRows({plain.size(0), static_cast<int32_t>(plain.size(1)), {values, values + plain.numel()}}, blocks)[e];
  }

  StatusOr<at::Tensor> GatesOf(int32_t l, const RoutePlan& plan, const RouterInput& in, const TrainPass* pass, Leaves* leaves,
                               PassResult* result, EvaluationDetail* detail, at::Tensor* router_loss) const {
    const at::Tensor& x = in.x;
    const auto experts = static_cast<int32_t>(experts_.size());
    if (plan.router == nullptr) {
      Gates gates = FixedGates(plan, x.size(0), experts);
      return at::from_blob(gates.value.data(), {gates.rows, gates.experts}, at::kFloat).clone();
    }
    std::optional<at::Generator> generator;
    if (pass != nullptr) generator = at::detail::createCPUGenerator(pass->seed * 1000003 + static_cast<uint64_t>(l));
    for (const Parameter& parameter : plan.router->LayerParameters(l)) leaves->Borrow(parameter);
    const at::Tensor input = pass != nullptr && pass->router_losses_only ? x.detach() : x;  // each layer's loss is its own affair
    ASSIGN_OR_RETURN(RouterOutput out,
                     plan.router->Forward(l, {input.to(at::kFloat), in.tokens}, generator ? &*generator : nullptr, plan.targets));
    CountRoutes(l, out, experts, result);
    if (detail != nullptr) {
      detail->routes.push_back(out.routes);
      detail->router_inputs.push_back(x.to(at::kFloat));
    }
    if (out.loss.defined()) *router_loss = router_loss->defined() ? *router_loss + out.loss : out.loss;
    return out.gates;
  }

  StatusOr<at::Tensor> Run(const PackedBatch& batch, const RoutePlan& plan, const TrainPass* pass, Leaves* leaves, PassResult* result,
                           EvaluationDetail* detail) const {
    result->rows = static_cast<int64_t>(batch.tokens.size());
    result->targets = static_cast<int64_t>(batch.targets.size());
    if (plan.router != nullptr) {
      result->expert_rows.resize(base_.layers.size() * experts_.size());
      result->expert_weight.resize(base_.layers.size() * experts_.size());
      result->entropy.resize(base_.layers.size());
    }
    const auto ints = [](const std::vector<int32_t>& v) {
      return at::from_blob(const_cast<int32_t*>(v.data()), {static_cast<int64_t>(v.size())}, at::kInt).clone();
    };
    std::vector<int32_t> positions;
    for (const PackedBatch::Segment& s : batch.segments) {
      for (int32_t row = s.begin; row < s.end; ++row) positions.push_back(row - s.begin);
    }
    const at::Tensor cos = base_.rope.cos.index_select(0, ints(positions)), sin = base_.rope.sin.index_select(0, ints(positions));
    const double eps = config_.rms_norm_eps;
    at::Tensor h = base_.embedding.index_select(0, ints(batch.tokens)).to(dtype_), router_loss;
    for (size_t l = 0; l < base_.layers.size(); ++l) {
      const BaseLayer& layer = base_.layers[l];
      h = h + Attention(l, RmsNorm(h, layer.input_norm, eps), batch, cos, sin, leaves);
      const at::Tensor x = RmsNorm(h, layer.post_attention_norm, eps);
      ASSIGN_OR_RETURN(const at::Tensor gates,
                       GatesOf(static_cast<int32_t>(l), plan, {x, batch.tokens}, pass, leaves, result, detail, &router_loss));
      const bool held_apart = pass != nullptr && pass->orthogonality > 0 && !pass->router_losses_only;
      std::vector<ExpertOutput> outputs;
      h = h + Mixture(l, x, gates, leaves, held_apart ? &outputs : nullptr);
      const at::Tensor overlap = OrthogonalityLoss(outputs);
      if (!overlap.defined()) continue;
      const at::Tensor own = overlap * (pass->orthogonality / static_cast<double>(x.size(0)));
      CountLoss(kOrthogonalityLoss, own.item<double>(), result);
      router_loss = router_loss.defined() ? router_loss + own : own;
    }
    const at::Tensor asked = RmsNorm(h.index_select(0, ints(batch.rows)), base_.final_norm, eps);
    const at::Tensor log_p = at::log_softmax(at::linear(asked, base_.head.to(dtype_)).to(at::kFloat), -1);
    const at::Tensor targets = ints(batch.targets).to(at::kLong);
    const at::Tensor wanted = log_p.gather(1, targets.unsqueeze(1)).squeeze(1);
    result->loss = -wanted.sum().item<double>();
    const at::Tensor correct = log_p.argmax(-1).eq(targets);
    result->correct = correct.sum().item<int64_t>();
    if (detail != nullptr) {
      for (int64_t i = 0; i < correct.size(0); ++i) detail->correct.push_back(correct[i].item<bool>());
      const at::Tensor values = wanted.detach().contiguous();
      detail->log_probs.assign(values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel());
    }
    const at::Tensor loss = -wanted.sum() * (pass == nullptr ? 1.0 : pass->router_losses_only ? 0.0 : pass->loss_scale);
    return router_loss.defined() && pass != nullptr ? loss + router_loss * pass->router_loss_scale : loss;
  }

  const at::ScalarType dtype_;
  const BaseWeights& base_;
  const ModelConfig& config_;
  std::vector<LoraExpert>& experts_;
  std::vector<Parameter> attention_;  // of each layer: qkv, o
};

}  // namespace

std::unique_ptr<TrainableModel> MakeReferenceModel(const TrainCompute& compute, const BaseWeights& base, std::vector<LoraExpert>& experts,
                                                   const ModelOptions& options) {
  return std::make_unique<ReferenceModel>(compute, base, experts, options);
}

}  // namespace switchyard::trainer
