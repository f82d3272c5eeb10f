// The routing tax of one layer: a dense feed-forward block against the mixture of LoRA experts in its place, ours beside the two ways of
// others.
//
// Seeded random weights of a model's shape in bf16, enough layers that they do not stay in the cache. A round runs every case over all
// layers, one case after the other; ratios are taken within a round. A layer here is the feed-forward block with its router, plus the
// attention's projections (the attention itself is the same with and without experts and is left out, which makes the layer ratio
// pessimistic).

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "bench/bench_util.h"
#include "engine/experts/mixture.h"
#include "engine/routing/router.h"

namespace switchyard::bench {
namespace {

struct Shape {
  int64_t hidden, width, qkv;
  int32_t layers;
};
const std::map<std::string, Shape> kShapes = {
    {"smollm2", {576, 1536, 960, 30}}, {"1b", {2048, 8192, 3072, 3}}, {"3b", {3072, 8192, 5120, 3}}};

[[noreturn]] void Die(const Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

at::Tensor Random(int64_t out, int64_t in) { return (at::randn({out, in}) / std::sqrt(static_cast<double>(in))).to(at::kBFloat16); }

struct Layer {
  Linear qkv, o;
  FeedForward ffn;
};

class Model {
 public:
  Model(const Shape& shape, const Compute& compute) : shape_(shape), compute_(compute) {
    at::manual_seed(1);
    for (int32_t l = 0; l < shape.layers; ++l) {
      layers_.push_back({Matrix(shape.qkv, shape.hidden),
                         Matrix(shape.hidden, shape.hidden),
                         {Matrix(shape.width, shape.hidden), Matrix(shape.width, shape.hidden), Matrix(shape.hidden, shape.width)}});
    }
  }

  const Shape& shape() const { return shape_; }
  const Compute& compute() const { return compute_; }
  const Layer& layer(int32_t l) const { return layers_[l]; }

  // `count` LoRA experts of rank `rank`, and zero.
  ExpertBank Bank(int count, int64_t rank) const {
    ExpertBank bank;
    const auto lora = [&](int64_t in, int64_t out) { return ExpertLora(Random(rank, in), Random(out, rank), 1.0f, compute_); };
    for (int e = 0; e < count; ++e) {
      auto expert = std::make_shared<Expert>();
      for (int32_t l = 0; l < shape_.layers; ++l) {
        expert->layers.push_back({lora(shape_.hidden, shape_.width), lora(shape_.hidden, shape_.width), lora(shape_.width, shape_.hidden)});
      }
      bank.push_back(expert);
    }
    bank.push_back(ZeroExpert(shape_.layers));
    return bank;
  }

  // Parameters of one layer's matrices, and of one expert in it.
  double ffn_parameters() const { return 3.0 * static_cast<double>(shape_.hidden * shape_.width); }
  double projection_parameters() const { return static_cast<double>(shape_.hidden * (shape_.qkv + shape_.hidden)); }
  double expert_parameters(int64_t rank) const { return 3.0 * static_cast<double>(rank * (shape_.hidden + shape_.width)); }

  // A router of `kind` over `experts` experts, through a file as a server loads it.
  std::unique_ptr<Router> MakeRouter(const std::string& kind, int experts, int32_t k) const {
    RouterManifest manifest;
    manifest.name = "bench";
    manifest.kind = kind;
    manifest.top_k = k;
    manifest.weight_mode = "renorm";
    manifest.num_layers = shape_.layers;
    manifest.hidden_size = static_cast<int32_t>(shape_.hidden);
    for (int e = 0; e < experts; ++e) manifest.experts.push_back({std::to_string(e), std::to_string(e), e + 1 == experts});
    std::vector<at::Tensor> owned;
    std::vector<TensorView> views;
    const auto add = [&](int32_t l, const char* name, const at::Tensor& tensor) {
      owned.push_back(tensor);
      views.push_back({"layers." + std::to_string(l) + ".router." + name,
                       DType::kBF16,
                       tensor.sizes().vec(),
                       {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()},
                       nullptr});
    };
    const int64_t inner = shape_.hidden / 2;
    for (int32_t l = 0; l < shape_.layers; ++l) {
      if (kind == "linear") {
        add(l, "weight", Random(experts, shape_.hidden));
        continue;
      }
      add(l, "fc1.weight", Random(inner, shape_.hidden));
      add(l, "fc1.bias", at::zeros({inner}, at::kBFloat16));
      add(l, "fc2.weight", Random(experts, inner));
      add(l, "fc2.bias", at::zeros({experts}, at::kBFloat16));
    }
    const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("mixture_bench_" + std::to_string(getpid()));
    if (const Status written = WriteRouterArtifact(directory.string(), manifest, views); !written.ok()) Die(written);
    const auto artifact = ReadRouterArtifact(directory.string());
    std::filesystem::remove_all(directory);
    if (!artifact.ok()) Die(artifact.status());
    auto router = LoadRouter(*artifact, compute_);
    if (!router.ok()) Die(router.status());
    return *std::move(router);
  }

 private:
  Linear Matrix(int64_t out, int64_t in) const { return Linear(compute_, Random(out, in), std::nullopt, at::kBFloat16); }

  const Shape shape_;
  const Compute& compute_;
  std::vector<Layer> layers_;
};

// What a case puts in the place of the feed-forward block; dense: no router, every row to the base.
struct Case {
  std::string name;
  MixtureAlgorithm algorithm = MixtureAlgorithm::kSingleDown;
  const ExpertBank* bank = nullptr;
  const Router* router = nullptr;
  double router_element = 4;  // bytes of most of its parameters
};

// Seconds over all layers.
struct Times {
  double block = 0;  // feed-forward
  double router = 0;
  double projections = 0;
  double layer() const { return block + router + projections; }
};

using Clock = std::chrono::steady_clock;
double Lap(Clock::time_point* since) {
  const Clock::time_point now = Clock::now();
  return std::chrono::duration<double>(now - std::exchange(*since, now)).count();
}

void RouteRows(const Case& c, int32_t l, const at::Tensor& x, LayerRoutes* routes) {
  routes->Resize(x.size(0), c.router->rule().top_k);
  const at::Tensor logits = c.router->Logits(l, x);
  const auto experts = static_cast<size_t>(c.router->num_experts());
  for (int64_t row = 0; row < routes->rows; ++row) {
    const Status status = SelectRow({logits.const_data_ptr<float>() + row * experts, experts}, c.router->rule(), {}, row, routes);
    if (!status.ok()) Die(status);
  }
}

Times RunCase(const Model& model, const Case& c, const at::Tensor& x) {
  static const ExpertBank no_experts;
  Times times;
  at::Tensor qkv = at::empty({x.size(0), model.shape().qkv}), out = at::empty_like(x);
  LayerRoutes routes;
  routes.Resize(x.size(0), 1);
  for (int32_t l = 0; l < model.shape().layers; ++l) {
    const Layer& layer = model.layer(l);
    Clock::time_point since = Clock::now();
    layer.qkv.ForwardInto(x.const_data_ptr<float>(), x.size(0), x.size(1), qkv.mutable_data_ptr<float>(), qkv.size(1), false);
    layer.o.ForwardInto(x.const_data_ptr<float>(), x.size(0), x.size(1), out.mutable_data_ptr<float>(), out.size(1), false);
    times.projections += Lap(&since);
    if (c.router != nullptr) RouteRows(c, l, x, &routes);
    times.router += Lap(&since);
    MixtureFast(model.compute(), x.const_data_ptr<float>(), x.size(0), layer.ffn, c.bank == nullptr ? no_experts : *c.bank, l, routes,
                c.algorithm, out.mutable_data_ptr<float>());
    times.block += Lap(&since);
  }
  return times;
}

struct Floors {
  SpeedFloor block, layer;
};

// What a layer of the routed case cannot do without, from the experts its rows select.
Floors FloorsOf(const Model& model, const Case& c, int64_t rank, const at::Tensor& x) {
  constexpr double kBf16 = 2;
  const double layers = model.shape().layers, rows = static_cast<double>(x.size(0));
  double distinct = 0, assigned = 0;  // sums over the layers
  LayerRoutes routes;
  for (int32_t l = 0; l < model.shape().layers; ++l) {
    RouteRows(c, l, x, &routes);
    std::vector<bool> selected(static_cast<size_t>(c.router->num_experts()));
    for (const int16_t expert : routes.experts) {
      if (expert == LayerRoutes::kUnused || (*c.bank)[static_cast<size_t>(expert)]->is_zero) continue;
      distinct += selected[static_cast<size_t>(expert)] ? 0 : 1;
      selected[static_cast<size_t>(expert)] = true;
      ++assigned;
    }
  }
  const double router_bytes = static_cast<double>(c.router->bytes()) / layers;
  const double router_flops = 2 * rows * router_bytes / c.router_element;
  const Work experts = {kBf16 * model.expert_parameters(rank) * distinct / layers, 2 * model.expert_parameters(rank) * assigned / layers};
  const Work block = {kBf16 * model.ffn_parameters(), 2 * rows * model.ffn_parameters()};
  const Work rest = {kBf16 * model.projection_parameters(), 2 * rows * model.projection_parameters()};
  const Work layer = {block.bytes + rest.bytes, block.flops + rest.flops};
  return {FloorOf(block, {block.bytes + experts.bytes, block.flops + experts.flops}, x.size(0)),
          FloorOf(layer, {layer.bytes + experts.bytes + router_bytes, layer.flops + experts.flops + router_flops}, x.size(0))};
}

std::vector<double> Of(const std::vector<Times>& rounds, double (*value)(const Times&)) {
  std::vector<double> values;
  for (const Times& times : rounds) values.push_back(value(times));
  return values;
}

nlohmann::json Ratio(const PairedRatio& ratio) { return {{"median", ratio.median}, {"p10", ratio.low}, {"p90", ratio.high}}; }

// Cases[0] is dense. Prints a row a case and appends to `results`.
void Compare(const Model& model, const std::vector<Case>& cases, int64_t rank, int64_t rows, int rounds, int experts, int32_t k,
             nlohmann::json* results) {
  const at::Tensor x = at::randn({rows, model.shape().hidden});
  std::vector<std::vector<Times>> times(cases.size());
  for (int round = -1; round < rounds; ++round) {
    for (size_t i = 0; i < cases.size(); ++i) {
      const Times t = RunCase(model, cases[i], x);
      if (round >= 0) times[i].push_back(t);
    }
  }
  const Floors floors = FloorsOf(model, cases[1], rank, x);
  std::printf("%4d %2d %5d  %-8s block / dense %.3f, speed of a layer %.3f (bytes %.3f, FLOPs %.3f)\n", experts, k, static_cast<int>(rows),
              "floor", 1 / floors.block.speed, floors.layer.speed, floors.layer.bytes, floors.layer.flops);
  const auto block = [](const Times& t) { return t.block; };
  const auto layer = [](const Times& t) { return t.layer(); };
  const auto router = [](const Times& t) { return t.router; };
  const double per_layer = 1e6 / model.shape().layers;
  for (size_t i = 0; i < cases.size(); ++i) {
    const PairedRatio block_tax = Paired(Of(times[i], block), Of(times[0], block));
    const PairedRatio layer_tax = Paired(Of(times[i], layer), Of(times[0], layer));
    const double block_us = Median(Of(times[i], block)) * per_layer, router_us = Median(Of(times[i], router)) * per_layer;
    std::printf("%4d %2d %5d  %-8s %10.1f %8.1f   %5.3f [%5.3f, %5.3f]   %5.3f [%5.3f, %5.3f]   %5.3f\n", experts, k,
                static_cast<int>(rows), cases[i].name.c_str(), block_us, router_us, block_tax.median, block_tax.low, block_tax.high,
                layer_tax.median, layer_tax.low, layer_tax.high, 1 / layer_tax.median);
    std::fflush(stdout);
    results->push_back({{"experts", experts},
                        {"k", k},
                        {"rows", rows},
                        {"case", cases[i].name},
                        {"block_us", block_us},
                        {"router_us", router_us},
                        {"block_vs_dense", Ratio(block_tax)},
                        {"layer_vs_dense", Ratio(layer_tax)},
                        {"block_floor", FloorJson(floors.block)},
                        {"layer_floor", FloorJson(floors.layer)},
                        {"rounds", rounds}});
  }
}

int Main(int argc, char** argv) {
  std::string shape = "smollm2", json, router_kind = "dense2moe_mlp";
  int threads = 2, rounds = 15;
  int64_t rank = 16;
  std::vector<int> banks = {4, 16};
  std::vector<int32_t> ks = {1, 2};
  std::vector<int64_t> row_counts = {1, 8, 32, 512};
  bool ours_only = false;
  CLI::App app("Dense feed-forward block against mixtures of LoRA experts: ours, MixLoRA-style, one block per expert");
  app.add_option("--shape", shape, "smollm2, 1b or 3b")->check(CLI::IsMember(kShapes))->capture_default_str();
  app.add_option("--router-kind", router_kind, "dense2moe_mlp (a hidden layer of half the model's width) or linear")
      ->check(CLI::IsMember({"dense2moe_mlp", "linear"}))
      ->capture_default_str();
  app.add_option("--json", json, "Also write the results to this file");
  app.add_option("--threads", threads)->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--rounds", rounds, "Rounds at few rows; a fifth of it, at least 3, from 256 rows")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--rank", rank)->check(CLI::Range(1, 512))->capture_default_str();
  app.add_option("--experts", banks, "LoRA experts beside zero")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--k", ks, "Experts a row")->check(CLI::Range(1, 16))->capture_default_str();
  app.add_option("--rows", row_counts)->check(CLI::Range(1, 8192))->capture_default_str();
  app.add_flag("--ours-only", ours_only, "Leave the other two ways out");
  CLI11_PARSE(app, argc, argv);

  at::set_num_threads(1);
  kernels::ThreadPool pool(threads);
  const Compute compute{Backend::kFast, at::kBFloat16, &pool};
  const Model model(kShapes.at(shape), compute);
  std::printf("%s router; ", router_kind.c_str());
  std::printf("%s: %d layers, hidden %d, width %d, bf16, rank %d, %d threads, %s\n", shape.c_str(), model.shape().layers,
              static_cast<int>(model.shape().hidden), static_cast<int>(model.shape().width), static_cast<int>(rank), threads,
              kernels::IsaName(kernels::CurrentIsa()));
  std::printf("   N  k  rows  case       block us router us   block / dense [10, 90 %%]    layer / dense [10, 90 %%]    speed\n");
  nlohmann::json results = nlohmann::json::array();
  for (const int experts : banks) {
    const ExpertBank bank = model.Bank(experts, rank);
    for (const int32_t k : ks) {
      const std::unique_ptr<Router> router = model.MakeRouter(router_kind, experts + 1, std::min(k, experts + 1));
      std::vector<Case> cases = {{"dense"}};
      cases.push_back({"ours", MixtureAlgorithm::kSingleDown, &bank, router.get(), router_kind == "linear" ? 4.0 : 2.0});
      if (!ours_only) {
        cases.push_back({"mixlora", MixtureAlgorithm::kMixLora, &bank, router.get()});
        cases.push_back({"naive", MixtureAlgorithm::kNaive, &bank, router.get()});
      }
      for (const int64_t rows : row_counts)
        Compare(model, cases, rank, rows, rows >= 256 ? std::max(3, rounds / 5) : rounds, experts, k, &results);
    }
  }
  WriteJson(json, {{"bench", "mixture"},
                   {"shape", shape},
                   {"rank", rank},
                   {"router_kind", router_kind},
                   {"threads", threads},
                   {"isa", kernels::IsaName(kernels::CurrentIsa())},
                   {"machine", MachineDescription()},
                   {"results", results}});
  return 0;
}

}  // namespace
}  // namespace switchyard::bench

int main(int argc, char** argv) { return switchyard::bench::Main(argc, argv); }
