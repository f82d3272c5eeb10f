#include "trainer/nn/router_mlp.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <mutex>
#include <vector>

#include "trainer/nn/loops.h"

namespace switchyard::trainer {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 64;  // rows a thread

float* Data(at::Tensor& t) { return t.mutable_data_ptr<float>(); }
const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }

class MlpNode : public torch::autograd::Function<MlpNode> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                            const at::Tensor& b2, double dropout, int64_t seed, at::ScalarType compute) {
    const at::Tensor rounded = x.to(compute), first = w1.to(compute), bias = b1.contiguous(), second = w2.contiguous();
    at::Tensor hidden = at::matmul(rounded, first.t()).to(at::kFloat).contiguous();
    const int64_t rows = hidden.size(0), units = hidden.size(1), experts = second.size(0);
    at::Tensor logits = at::empty({rows, experts}, at::kFloat);
    const double keep = 1.0 - dropout;
    {
      float *h = Data(hidden), *out = Data(logits);
      const at::Tensor last = b2.contiguous();
      const float *first_bias = Data(bias), *w = Data(second), *last_bias = Data(last);
      at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          loops::BiasReluDrop(first_bias, units, dropout, static_cast<uint64_t>(seed), row * units, h + row * units);
          for (int64_t e = 0; e < experts; ++e) out[row * experts + e] = loops::Dot(h + row * units, w + e * units, units) + last_bias[e];
        }
      });
    }
    context->save_for_backward({x, w1, second});  // x is kept anyway
    context->saved_data["hidden"] = hidden;
    context->saved_data["keep"] = keep;
    context->saved_data["compute"] = static_cast<int64_t>(compute);
    return logits;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor rounded = saved[0].to(static_cast<at::ScalarType>(context->saved_data["compute"].toInt()));
    const at::Tensor hidden = context->saved_data["hidden"].toTensor();
    const at::Tensor first = saved[1].to(rounded.scalar_type()), dlogits = grads[0].to(at::kFloat).contiguous();
    const int64_t rows = hidden.size(0), units = hidden.size(1), experts = dlogits.size(1);
    const float scale = static_cast<float>(1.0 / context->saved_data["keep"].toDouble());
    at::Tensor d = at::empty({rows, units}, at::kFloat);
    {
      float* to = Data(d);
      const float *h = Data(hidden), *w = Data(saved[2]), *dl = Data(dlogits);
      at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          loops::MlpHiddenBackward(dl + row * experts, w, h + row * units, experts, units, scale, to + row * units);
      });
    }
    const at::Tensor rounded_d = d.to(rounded.scalar_type());
    // In f32: a [E, F] matrix, whatever the router computes in.
    at::Tensor dw2 = at::zeros({experts, units}, at::kFloat), db1 = at::zeros({units}, at::kFloat), db2 = at::zeros({experts}, at::kFloat);
    for (int64_t row = 0; row < rows; ++row) {
      loops::Axpy(1.0f, Data(std::as_const(d)) + row * units, units, Data(db1));
      loops::Axpy(1.0f, Data(dlogits) + row * experts, experts, Data(db2));
    }
    loops::AddTransposedProduct({Data(dlogits), experts}, {Data(hidden), units}, rows, experts, 0, units, Data(dw2), units);
    const at::Tensor dw1 = at::matmul(rounded_d.t(), rounded).to(at::kFloat);
    const at::Tensor dx = context->needs_input_grad(0) ? at::matmul(rounded_d, first).to(at::kFloat) : at::Tensor();
    return {dx, dw1, db1, dw2, db2, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor RouterMlp(const at::Tensor& x, const RouterMlpWeights& weights, double dropout, at::Generator* generator,
                     at::ScalarType compute) {
  int64_t seed = 0;
  const bool draws = generator != nullptr && dropout > 0;
  if (draws) {
    auto* own = at::check_generator<at::CPUGeneratorImpl>(*generator);
    const std::lock_guard<std::mutex> lock(own->mutex_);
    seed = static_cast<int64_t>(own->random64());
  }
  return MlpNode::apply(x, weights.w1, weights.b1, weights.w2, weights.b2, draws ? dropout : 0.0, seed, compute);
}

}  // namespace switchyard::trainer
