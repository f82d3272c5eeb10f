// Forward and backward by hand over the layers; only the routers are on LibTorch's tape.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "engine/kernels/kernels.h"
#include "trainer/nn/attention_loops.h"
#include "trainer/nn/loops.h"
#include "trainer/nn/mixture_block.h"
#include "trainer/nn/model.h"

namespace switchyard::trainer {

namespace {

float* Data(at::Tensor& t) { return t.mutable_data_ptr<float>(); }
const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }
at::Tensor New(int64_t rows, int64_t width) { return at::empty({rows, width}, at::kFloat); }

// A matrix that may be trained: the parameter and its packed copy.
struct Projection {
  Projection(const TrainCompute& compute, const std::string& name, const at::Tensor& weight, const at::Tensor& bias, bool train)
      : compute_(&compute), bias_(bias) {
    if (train) parameter = MakeParameter(name, weight, true);
    packed.emplace(compute, weight, bias);
  }
  void Repack() {
    if (parameter) packed.emplace(*compute_, parameter->value, bias_);
  }
  void AddGradient(const at::Tensor& x, const at::Tensor& dy) {
    if (parameter) parameter->grad.addmm_(dy.t(), x);
  }
  std::optional<Parameter> parameter;
  std::optional<PackedLinear> packed;

 private:
  const TrainCompute* compute_;
  at::Tensor bias_;
};

struct Layer {
  const BaseLayer* weights;
  Projection qkv, o;
  MixtureBlock mixture;
  std::vector<LoraBlock*> experts;
};

// What the way back needs of one layer.
struct Saved {
  at::Tensor h_in;      // [T, H]
  at::Tensor qkv_raw;   // [T, Q] before head norm and rope; only with qk_norm
  at::Tensor qkv;       // [T, Q]
  at::Tensor attended;  // [T, heads dim]; only when its projection trains
  at::Tensor h_mid;     // [T, H]
  MixtureSaved mixture;
  Gates gates;
  at::Tensor router_in;  // [T, H], on the tape when the router trains
  RouterOutput router;

  void KeepOnlyInput() {
    at::Tensor input = std::move(h_in);
    *this = Saved();
    h_in = std::move(input);
  }
};

class FastModel final : public TrainableModel {
 public:
  FastModel(const TrainCompute& compute, const BaseWeights& base, std::vector<LoraExpert>& experts, const ModelOptions& options)
      : compute_(compute),
        pool_(*compute.pool),
        base_(base),
        config_(base.config),
        options_(options),
        num_experts_(static_cast<int32_t>(experts.size())),
        head_(compute, base.head) {
    for (size_t l = 0; l < base.layers.size(); ++l) {
      const BaseLayer& from = base.layers[l];
      const std::string name = absl::StrFormat("model.layers.%d.self_attn.", l);
      std::vector<LoraBlock*> blocks;
      for (LoraExpert& expert : experts) blocks.push_back(&expert.layers[l]);
      layers_.push_back({&from, Projection(compute, name + "qkv", from.qkv, from.qkv_bias, options.train_attention),
                         Projection(compute, name + "o_proj", from.o, from.o_bias, options.train_attention),
                         MixtureBlock(compute, from.gate, from.up, from.down), std::move(blocks)});
    }
    lowest_trained_ = options.train_attention ? 0 : LowestTrained(experts);
  }

  StatusOr<PassResult> ForwardBackward(const PackedBatch& batch, const RoutePlan& plan, const TrainPass& pass) override {
    const int64_t rows = static_cast<int64_t>(batch.tokens.size());
    PassResult result = Empty(plan);
    result.rows = rows;
    std::vector<Saved> saved(layers_.size());
    // Below the lowest layer with something to learn there is no way back.
    const size_t lowest = plan.router != nullptr ? 0 : lowest_trained_;
    at::Tensor h = Embed(batch);
    for (size_t l = 0; l < layers_.size(); ++l) {
      ASSIGN_OR_RETURN(at::Tensor next, LayerForward(l, batch, plan, h, &pass, &saved[l], &result));
      if (pass.router_losses_only) {
        RouterBackward(static_cast<int32_t>(l), plan, pass, at::Tensor(), saved[l], nullptr);
        saved[l] = Saved();
      } else if (l < lowest) {
        saved[l] = Saved();
      } else if (options_.recompute) {
        saved[l].KeepOnlyInput();
      }
      h = std::move(next);
    }
    at::Tensor dh = HeadBackward(h, batch, pass.loss_scale, &result);
    if (!std::isfinite(result.loss)) return Internal("the loss of a batch of %d rows is not finite", rows);
    if (pass.router_losses_only) return result;
    for (size_t i = layers_.size(); i-- > lowest;) {
      if (options_.recompute) {
        PassResult again = Empty(plan);
        const at::Tensor h_in = saved[i].h_in;
        RETURN_IF_ERROR(LayerForward(i, batch, plan, h_in, &pass, &saved[i], &again).status());
      }
      LayerBackward(i, batch, plan, pass, saved[i], i == lowest, &dh, &result);
      saved[i] = Saved();
    }
    return result;
  }

  StatusOr<PassResult> Evaluate(const PackedBatch& batch, const RoutePlan& plan, EvaluationDetail* detail) override {
    PassResult result = Empty(plan);
    result.rows = static_cast<int64_t>(batch.tokens.size());
    at::Tensor h = Embed(batch);
    for (size_t l = 0; l < layers_.size(); ++l) {
      Saved saved;
      ASSIGN_OR_RETURN(h, LayerForward(l, batch, plan, h, nullptr, &saved, &result));
      if (detail == nullptr || plan.router == nullptr) continue;
      detail->routes.push_back(std::move(saved.router.routes));
      detail->router_inputs.push_back(saved.router_in);
    }
    at::Tensor normed, logits;
    ForChunks(h, batch, [&](int64_t begin, int64_t count, const at::Tensor& chunk, const at::Tensor& /*inputs*/) {
      at::Tensor own = chunk;
      float* row = Data(own);
      for (int64_t i = 0; i < count; ++i) {
        bool correct = false;
        const float loss =
            loops::CrossEntropyRow(row + i * config_.vocab_size, config_.vocab_size, batch.targets[begin + i], 1.0f, &correct);
        result.loss += loss;
        result.correct += correct;
        if (detail == nullptr) continue;
        detail->log_probs.push_back(-loss);
        detail->correct.push_back(correct);
      }
    });
    result.targets = static_cast<int64_t>(batch.targets.size());
    return result;
  }

  std::vector<Parameter> Parameters() const override {
    std::vector<Parameter> all;
    for (const Layer& layer : layers_) {
      for (const Projection* projection : {&layer.qkv, &layer.o}) {
        if (projection->parameter) all.push_back(*projection->parameter);
      }
    }
    return all;
  }

  void Repack() override {
    for (Layer& layer : layers_) {
      layer.qkv.Repack();
      layer.o.Repack();
    }
  }

 private:
  static size_t LowestTrained(const std::vector<LoraExpert>& experts) {
    size_t lowest = 0;
    bool found = false;
    for (const LoraExpert& expert : experts) {
      for (size_t l = 0; l < expert.layers.size(); ++l) {
        if (!expert.layers[l].trains()) continue;
        lowest = found ? std::min(lowest, l) : l;
        found = true;
        break;
      }
    }
    return lowest;
  }

  PassResult Empty(const RoutePlan& plan) const {
    PassResult result;
    if (plan.router == nullptr) return result;
    result.expert_rows.resize(layers_.size() * num_experts_);
    result.expert_weight.resize(layers_.size() * num_experts_);
    result.entropy.resize(layers_.size());
    return result;
  }

  at::Tensor Embed(const PackedBatch& batch) const {
    const at::Tensor index =
        at::from_blob(const_cast<int32_t*>(batch.tokens.data()), {static_cast<int64_t>(batch.tokens.size())}, at::kInt);
    return base_.embedding.index_select(0, index).to(at::kFloat).contiguous();
  }

  at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight) const {
    at::Tensor y = at::empty_like(x);
    const int64_t width = x.size(1);
    kernels::RmsNorm(pool_, Data(x), x.size(0), width, Data(weight), width, static_cast<float>(config_.rms_norm_eps), Data(y), width);
    return y;
  }

  // dx += the gradient through y = RmsNorm(x).
  void RmsNormBackward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& dy, at::Tensor* dx) const {
    const int64_t width = x.size(1);
    const float eps = static_cast<float>(config_.rms_norm_eps);
    const float *from = Data(x), *w = Data(weight), *d = Data(dy);
    float* to = Data(*dx);
    pool_.ParallelFor(x.size(0), 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        loops::RmsNormBackward(from + row * width, w, d + row * width, width, eps, to + row * width);
    });
  }

  int64_t QueryWidth() const { return int64_t{config_.num_heads} * config_.head_dim; }
  int64_t QkvWidth() const { return (int64_t{config_.num_heads} + 2 * config_.num_kv_heads) * config_.head_dim; }

  // Heads of q and k, which lie next to each other, of all rows: work(head data, position, head).
  template <typename Work>
  void ForRotatedHeads(const PackedBatch& batch, float* qkv, const Work& work) const {
    const int64_t heads = config_.num_heads + config_.num_kv_heads, dim = config_.head_dim, width = QkvWidth();
    pool_.ParallelFor(static_cast<int64_t>(batch.segments.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        for (int64_t row = batch.segments[s].begin; row < batch.segments[s].end; ++row) {
          for (int64_t head = 0; head < heads; ++head) work(qkv + row * width + head * dim, row - batch.segments[s].begin, head);
        }
      }
    });
  }

  void Rope(const PackedBatch& batch, float* qkv, bool back) const {
    const int64_t half = config_.head_dim / 2;
    const float *cos = Data(base_.rope.cos), *sin = Data(base_.rope.sin);
    ForRotatedHeads(batch, qkv, [&](float* head, int64_t position, int64_t) {
      loops::Rotate(head, cos + position * half, sin + position * half, config_.head_dim, back);
    });
  }

  // The server keeps keys and values in bf16 where the base is bf16; gradients pass through the rounding.
  void RoundKeysAndValues(int64_t rows, float* qkv) const {
    if (compute_.dtype != at::kBFloat16) return;
    const int64_t width = QkvWidth() - QueryWidth();
    pool_.ParallelFor(rows, 16, [&](int64_t begin, int64_t end) {
      std::vector<kernels::bf16> rounded(static_cast<size_t>(width));
      for (int64_t row = begin; row < end; ++row) {
        float* at = qkv + row * QkvWidth() + QueryWidth();
        kernels::F32ToBf16(at, width, rounded.data());
        kernels::Bf16ToF32(rounded.data(), width, at);
      }
    });
  }

  const float* HeadNormWeight(const BaseLayer& layer, int64_t head) const {
    return Data(head < config_.num_heads ? layer.q_norm : layer.k_norm);
  }

  // One task a (sequence, kv head) with the query heads that share it: work(shape, offsets of its first values, scratch).
  struct AttentionPlace {
    int64_t q, k, v, o;
  };
  template <typename Work>
  void ForAttentionTasks(const PackedBatch& batch, const Work& work) const {
    const int64_t kv_heads = config_.num_kv_heads, group = config_.num_heads / kv_heads, dim = config_.head_dim;
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
    pool_.ParallelFor(static_cast<int64_t>(batch.segments.size()) * kv_heads, 1, [&](int64_t begin, int64_t end) {
      loops::AttentionScratch scratch;
      for (int64_t task = begin; task < end; ++task) {
        const PackedBatch::Segment& segment = batch.segments[task / kv_heads];
        const int64_t kv = task % kv_heads, qkv = segment.begin * QkvWidth();
        const loops::AttentionShape shape{segment.end - segment.begin, dim, group, QkvWidth(), QueryWidth(), scale};
        const AttentionPlace place{qkv + kv * group * dim, qkv + (config_.num_heads + kv) * dim,
                                   qkv + (config_.num_heads + kv_heads + kv) * dim, segment.begin * QueryWidth() + kv * group * dim};
        work(shape, place, &scratch);
      }
    });
  }

  // pass: null in evaluation.
  StatusOr<at::Tensor> LayerForward(size_t l, const PackedBatch& batch, const RoutePlan& plan, const at::Tensor& h, const TrainPass* pass,
                                    Saved* saved, PassResult* result) {
    Layer& layer = layers_[l];
    const int64_t rows = h.size(0), dim = config_.head_dim;
    saved->h_in = h;
    const at::Tensor x = RmsNorm(h, layer.weights->input_norm);
    saved->qkv = New(rows, QkvWidth());
    float* qkv = Data(saved->qkv);
    layer.qkv.packed->Forward(Data(x), rows, qkv);
    if (config_.qk_norm) {
      saved->qkv_raw = saved->qkv.clone();
      ForRotatedHeads(batch, qkv, [&](float* head, int64_t, int64_t index) {
        const float* w = HeadNormWeight(*layer.weights, index);
        const float inverse =
            1.0f / std::sqrt(loops::Dot(head, head, dim) / static_cast<float>(dim) + static_cast<float>(config_.rms_norm_eps));
        for (int64_t i = 0; i < dim; ++i) head[i] *= inverse * w[i];
      });
    }
    Rope(batch, qkv, /*back=*/false);
    RoundKeysAndValues(rows, qkv);
    at::Tensor attended = New(rows, QueryWidth());
    float* o = Data(attended);
    ForAttentionTasks(batch, [&](const loops::AttentionShape& shape, const AttentionPlace& at, loops::AttentionScratch* scratch) {
      loops::AttentionForward(shape, qkv + at.q, qkv + at.k, qkv + at.v, scratch, o + at.o);
    });
    saved->h_mid = h.clone();
    layer.o.packed->Forward(o, rows, Data(saved->h_mid), /*accumulate=*/true);
    if (layer.o.parameter) saved->attended = attended;
    const at::Tensor x2 = RmsNorm(saved->h_mid, layer.weights->post_attention_norm);
    RETURN_IF_ERROR(Route(static_cast<int32_t>(l), plan, {x2, batch.tokens}, pass, saved, result));
    at::Tensor y = New(rows, h.size(1));
    layer.mixture.Forward(Data(x2), saved->gates, layer.experts, Dropout(l, pass), pass != nullptr ? &saved->mixture : nullptr, Data(y));
    y.add_(saved->h_mid);
    return y;
  }

  LoraDropout Dropout(size_t l, const TrainPass* pass) const {
    if (pass == nullptr || pass->lora_dropout <= 0) return {};
    return {pass->lora_dropout, pass->seed * 1000003 + l};
  }

  Status Route(int32_t l, const RoutePlan& plan, const RouterInput& in, const TrainPass* pass, Saved* saved, PassResult* result) const {
    const at::Tensor& x = in.x;
    if (plan.router == nullptr) {
      saved->gates = FixedGates(plan, x.size(0), num_experts_);
      return OkStatus();
    }
    std::optional<at::Generator> generator;
    if (pass != nullptr) generator = at::detail::createCPUGenerator(pass->seed * 1000003 + static_cast<uint64_t>(l));
    saved->router_in = x;
    // With gradients only where there is a way back.
    c10::AutoGradMode grad(pass != nullptr);
    if (pass != nullptr) saved->router_in = x.detach().requires_grad_(true);
    ASSIGN_OR_RETURN(saved->router,
                     plan.router->Forward(l, {saved->router_in, in.tokens}, generator ? &*generator : nullptr, plan.targets));
    const at::Tensor gates = saved->router.gates.detach().contiguous();
    const float* values = Data(gates);
    saved->gates = {x.size(0), num_experts_, std::vector<float>(values, values + gates.numel()), saved->router.dense_gradient};
    CountRoutes(l, saved->router, num_experts_, result);
    return OkStatus();
  }

  // Gradients of the router's parameters, and dx += what flows into its input. Undefined dgates: of the router's own losses alone.
  void RouterBackward(int32_t l, const RoutePlan& plan, const TrainPass& pass, const at::Tensor& dgates, const Saved& saved,
                      at::Tensor* dx) const {
    if (plan.router == nullptr || (!dgates.defined() && !saved.router.loss.defined())) return;
    std::vector<Parameter> parameters = plan.router->LayerParameters(l);
    std::vector<at::Tensor> inputs = {saved.router_in};
    for (const Parameter& parameter : parameters) inputs.push_back(parameter.value);
    std::vector<at::Tensor> outputs, seeds;
    if (dgates.defined()) {
      outputs.push_back(saved.router.gates);
      seeds.push_back(dgates);
    }
    if (saved.router.loss.defined()) {
      outputs.push_back(saved.router.loss);
      seeds.push_back(at::full_like(saved.router.loss, pass.router_loss_scale));
    }
    const std::vector<at::Tensor> grads = torch::autograd::grad(outputs, inputs, seeds, std::nullopt, false, /*allow_unused=*/true);
    if (dx != nullptr && grads[0].defined()) dx->add_(grads[0]);
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (grads[i + 1].defined()) parameters[i].grad.add_(grads[i + 1]);
    }
  }

  void LayerBackward(size_t l, const PackedBatch& batch, const RoutePlan& plan, const TrainPass& pass, const Saved& saved, bool lowest,
                     at::Tensor* dh, PassResult* result) {
    Layer& layer = layers_[l];
    const int64_t rows = dh->size(0);
    const at::Tensor x2 = plan.router != nullptr ? saved.router_in.detach() : RmsNorm(saved.h_mid, layer.weights->post_attention_norm);
    at::Tensor dx2 = New(rows, x2.size(1)), dgates;
    if (plan.router != nullptr) dgates = New(rows, num_experts_);
    const double scale = pass.orthogonality / static_cast<double>(rows);
    const double overlap =
        layer.mixture.Backward(Data(x2), saved.gates, layer.experts, Dropout(l, &pass), saved.mixture, Data(std::as_const(*dh)), Data(dx2),
                               dgates.defined() ? Data(dgates) : nullptr, scale * pass.router_loss_scale);
    // What is told is not yet this batch's share.
    if (pass.orthogonality > 0) CountLoss(kOrthogonalityLoss, overlap / pass.router_loss_scale, result);
    if (plan.router != nullptr) RouterBackward(static_cast<int32_t>(l), plan, pass, dgates, saved, &dx2);
    RmsNormBackward(saved.h_mid, layer.weights->post_attention_norm, dx2, dh);
    // Nothing below the lowest layer's attention is trained but, perhaps, itself.
    if (lowest && !layer.qkv.parameter) return;
    layer.o.AddGradient(saved.attended, *dh);
    at::Tensor dattended = New(rows, QueryWidth()), dqkv = New(rows, QkvWidth());
    layer.o.packed->Backward(Data(std::as_const(*dh)), rows, Data(dattended));
    const float *qkv = Data(saved.qkv), *d_o = Data(std::as_const(dattended));
    float* d = Data(dqkv);
    ForAttentionTasks(batch, [&](const loops::AttentionShape& shape, const AttentionPlace& at, loops::AttentionScratch* scratch) {
      loops::AttentionBackward(shape, qkv + at.q, qkv + at.k, qkv + at.v, d_o + at.o, scratch, d + at.q, d + at.k, d + at.v);
    });
    Rope(batch, d, /*back=*/true);
    if (config_.qk_norm) HeadNormBackward(batch, *layer.weights, Data(saved.qkv_raw), d);
    const at::Tensor x = layer.qkv.parameter || l > 0 ? RmsNorm(saved.h_in, layer.weights->input_norm) : at::Tensor();
    layer.qkv.AddGradient(x, dqkv);
    at::Tensor dx = New(rows, dh->size(1));
    layer.qkv.packed->Backward(Data(std::as_const(dqkv)), rows, Data(dx));
    RmsNormBackward(saved.h_in, layer.weights->input_norm, dx, dh);
  }

  // In place: d(norm'ed head) becomes d(head).
  void HeadNormBackward(const PackedBatch& batch, const BaseLayer& layer, const float* raw, float* d) const {
    const int64_t dim = config_.head_dim;
    ForRotatedHeads(batch, d, [&](float* head, int64_t, int64_t index) {
      std::vector<float> dx(static_cast<size_t>(dim));
      loops::RmsNormBackward(raw + (head - d), HeadNormWeight(layer, index), head, dim, static_cast<float>(config_.rms_norm_eps),
                             dx.data());
      std::copy(dx.begin(), dx.end(), head);
    });
  }

  // The rows that are asked for, some at a time: work(first, count, logits [count, V], their hidden states before the final norm [count,
  // H]).
  template <typename Work>
  void ForChunks(const at::Tensor& h, const PackedBatch& batch, const Work& work) const {
    constexpr int64_t kChunk = 128;
    const auto answers = static_cast<int64_t>(batch.rows.size());
    for (int64_t begin = 0; begin < answers; begin += kChunk) {
      const int64_t count = std::min(kChunk, answers - begin);
      const at::Tensor index = at::from_blob(const_cast<int32_t*>(batch.rows.data()) + begin, {count}, at::kInt);
      const at::Tensor inputs = h.index_select(0, index);
      const at::Tensor normed = RmsNorm(inputs, base_.final_norm);
      at::Tensor logits = New(count, config_.vocab_size);
      head_.Forward(Data(normed), count, Data(logits));
      work(begin, count, logits, inputs);
    }
  }

  // Loss and its gradient for the last layer's output [T, H].
  at::Tensor HeadBackward(const at::Tensor& h, const PackedBatch& batch, double scale, PassResult* result) const {
    at::Tensor dh = at::zeros_like(h);
    const int64_t vocab = config_.vocab_size, hidden = h.size(1);
    ForChunks(h, batch, [&](int64_t begin, int64_t count, const at::Tensor& chunk, const at::Tensor& inputs) {
      at::Tensor logits = chunk;
      float* row = Data(logits);
      std::vector<float> losses(static_cast<size_t>(count));
      std::vector<uint8_t> correct(static_cast<size_t>(count));
      pool_.ParallelFor(count, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          bool hit = false;
          losses[i] = loops::CrossEntropyRow(row + i * vocab, vocab, batch.targets[begin + i], static_cast<float>(scale), &hit);
          correct[i] = hit;
        }
      });
      for (int64_t i = 0; i < count; ++i) {
        result->loss += losses[i];
        result->correct += correct[i];
      }
      at::Tensor dnormed = New(count, hidden), dinputs = at::zeros({count, hidden}, at::kFloat);
      head_.Backward(row, count, Data(dnormed));
      RmsNormBackward(inputs, base_.final_norm, dnormed, &dinputs);
      float* to = Data(dh);
      for (int64_t i = 0; i < count; ++i) {
        loops::Axpy(1.0f, Data(std::as_const(dinputs)) + i * hidden, hidden, to + batch.rows[begin + i] * hidden);
      }
    });
    result->targets = static_cast<int64_t>(batch.targets.size());
    return dh;
  }

  const TrainCompute& compute_;
  kernels::ThreadPool& pool_;
  const BaseWeights& base_;
  const ModelConfig& config_;
  const ModelOptions options_;
  const int32_t num_experts_;
  const PackedLinear head_;
  std::vector<Layer> layers_;
  size_t lowest_trained_ = 0;  // layer with a trainable expert or attention; routers reach down to the first
};

}  // namespace

std::unique_ptr<TrainableModel> MakeFastModel(const TrainCompute& compute, const BaseWeights& base, std::vector<LoraExpert>& experts,
                                              const ModelOptions& options) {
  return std::make_unique<FastModel>(compute, base, experts, options);
}

}  // namespace switchyard::trainer
