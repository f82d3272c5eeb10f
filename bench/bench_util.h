// What the benchmarks share: interleaved rounds, medians, paired ratios, a JSON file beside the table.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace switchyard::bench {

double Seconds(const std::function<void()>& work);
double Quantile(std::vector<double> values, double q);  // linear interpolation; values not empty
inline double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }

// Runs every case once a round, in turn, for `rounds` rounds after one that is not counted: A B C A B C ... Element [case][round] is in
// seconds.
std::vector<std::vector<double>> Interleaved(const std::vector<std::function<void()>>& cases, int rounds);

// numerator[i] / denominator[i] of the same round: its median and 10-90 % band.
struct PairedRatio {
  double median = 0, low = 0, high = 0;
};
PairedRatio Paired(const std::vector<double>& numerator, const std::vector<double>& denominator);

// What a step must read and multiply at the least.
struct Work {
  double bytes = 0, flops = 0;
};
// The best that any implementation can do: dense's speed over the routed one's with both limits at their floor.
//   <= 8 rows: bytes(dense) / bytes(dense + distinct experts selected + router); >= 256 rows: the same of FLOPs; between: the smaller.
struct SpeedFloor {
  double bytes = 1, flops = 1;
  double speed = 1;  // that of the two which binds at this number of rows
};
SpeedFloor FloorOf(const Work& dense, const Work& routed, int64_t rows);
nlohmann::json FloorJson(const SpeedFloor& floor);

// CPU model and cores. Absolute times of a shared machine drift: quote ratios taken in one run.
nlohmann::json MachineDescription();

// Writes `document` to `path` (nothing when path is ""), exiting with a message when that fails.
void WriteJson(const std::string& path, const nlohmann::json& document);

}  // namespace switchyard::bench
