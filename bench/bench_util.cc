#include "bench/bench_util.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace switchyard::bench {

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(std::floor(at));
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

std::vector<std::vector<double>> Interleaved(const std::vector<std::function<void()>>& cases, int rounds) {
  std::vector<std::vector<double>> seconds(cases.size());
  for (int round = -1; round < rounds; ++round) {
    for (size_t i = 0; i < cases.size(); ++i) {
      const double s = Seconds(cases[i]);
      if (round >= 0) seconds[i].push_back(s);
    }
  }
  return seconds;
}

PairedRatio Paired(const std::vector<double>& numerator, const std::vector<double>& denominator) {
  std::vector<double> ratios(numerator.size());
  for (size_t i = 0; i < ratios.size(); ++i) ratios[i] = numerator[i] / denominator[i];
  return {Median(ratios), Quantile(ratios, 0.1), Quantile(ratios, 0.9)};
}

SpeedFloor FloorOf(const Work& dense, const Work& routed, int64_t rows) {
  SpeedFloor floor{dense.bytes / routed.bytes, dense.flops / routed.flops, 1};
  floor.speed = rows <= 8 ? floor.bytes : rows >= 256 ? floor.flops : std::min(floor.bytes, floor.flops);
  return floor;
}

nlohmann::json FloorJson(const SpeedFloor& floor) { return {{"bytes", floor.bytes}, {"flops", floor.flops}, {"speed", floor.speed}}; }

nlohmann::json MachineDescription() {
  std::string model = "unknown";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) == 0) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  return {{"cpu", model}, {"cores", std::thread::hardware_concurrency()}};
}

void WriteJson(const std::string& path, const nlohmann::json& document) {
  if (path.empty()) return;
  std::ofstream out(path);
  out << document.dump(2) << "\n";
  if (!out.flush()) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::exit(1);
  }
  std::printf("written: %s\n", path.c_str());
}

}  // namespace switchyard::bench
