#include "client/model_command.h"

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_format.h"
#include "client/flags.h"
#include "client/generate_view.h"
#include "client/proto_json.h"
#include "client/screen_text.h"
#include "client/table.h"

namespace switchyard::client {

std::string ModelTable(const v1::GetModelResponse& model, const Style& style) {
  const v1::Generations& generations = model.generations();
  Table figures({{"model", Align::kLeft}, {OneLine(generations.base_name(), 60), Align::kLeft}});
  figures.AddRow({"base generation", ShortGeneration(generations.base())});
  figures.AddRow({"snapshot", ShortGeneration(generations.snapshot())});
  figures.AddRow(
      {"shape", absl::StrFormat("%d layers, hidden %d, vocabulary %d", model.layers(), model.hidden_size(), model.vocabulary())});
  figures.AddRow({"positions", std::to_string(model.max_positions())});
  figures.AddRow({"computes in", OneLine(model.dtype())});
  figures.AddRow({"chat template", model.has_chat_template() ? "yes" : "no"});
  if (generations.router().empty()) {
    figures.AddRow({"router", "none: the base model alone, or experts by request"});
  } else {
    figures.AddRow({"router", absl::StrFormat("%s (%s), top-%d, generation %s", OneLine(generations.router_name(), 40),
                                              OneLine(model.router_kind(), 24), model.top_k(), ShortGeneration(generations.router()))});
  }
  figures.AddRow({"server", OneLine(model.server_version(), 40)});
  Table experts({{"#"}, {"expert", Align::kLeft}, {"generation", Align::kLeft}});
  for (int i = 0; i < generations.experts_size(); ++i) {
    const v1::ExpertGeneration& expert = generations.experts(i);
    experts.AddRow({std::to_string(i), OneLine(expert.name(), 40),
                    expert.is_zero() ? "the base itself (zero)" : ShortGeneration(expert.generation())});
  }
  std::string text = figures.Render(style);
  if (generations.experts_size() > 0) text += "\n" + experts.Render(style);
  if (model.untrained())
    text += "\n" + style.Bold("Untrained:") + " experts or router say of themselves that they are fixtures; their choices mean nothing.\n";
  return text;
}

CLI::App* ModelCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("model", "Show what the server serves");
  command->add_flag("--json", json_, "Print the reply as one line of proto3 JSON");
  AddConnectionFlags(*command, &connection_);
  return command;
}

ExitCode ModelCommand::Run(CommandEnvironment& environment) {
  Connection connection(connection_);
  v1::GetModelResponse model;
  const grpc::Status status = connection.GetModel(&model);
  if (!status.ok()) return Fail(environment.terminal, status, connection_);
  environment.terminal.out << (json_ ? ToJsonLine(model) + "\n" : ModelTable(model, environment.terminal.out_style)) << std::flush;
  return kExitOk;
}

}  // namespace switchyard::client
