#include "client/mcq_run.h"

#include <optional>

#include "client/batch_output.h"
#include "client/ordered_pool.h"
#include "client/progress.h"

namespace switchyard::client {
namespace {

grpc::Status Ask(const McqQuestion& question, const v1::ScoreRequest& request, const RetryPolicy& retry, const ScoreCall& score,
                 std::optional<v1::ScoreResponse>* reply) {
  v1::ScoreResponse response;
  const grpc::Status status = CallWithRetry(retry, [&] { return score(request, &response); });
  if (!status.ok()) return status;
  if (const grpc::Status fits = CheckReply(question, response); !fits.ok()) return fits;
  *reply = std::move(response);
  return status;
}

}  // namespace

McqAnswer AnswerQuestion(const McqQuestion& question, const McqRunOptions& options, const ScoreCall& score) {
  McqAnswer answer;
  answer.question = question;
  if (options.judges.letter) {
    answer.status = Ask(question, LetterRequest(question, options.templates, options.common), options.retry, score, &answer.letter);
  }
  if (answer.status.ok() && options.judges.text) {
    answer.status = Ask(question, TextRequest(question, options.templates, options.common), options.retry, score, &answer.text);
  }
  return answer;
}

StatusOr<McqOutcome> RunMcq(const std::vector<McqQuestion>& questions, const McqRunOptions& options, const ScoreCall& score,
                            Terminal& terminal, const AnswerFn& on_answer) {
  std::optional<LineAppender> output;
  if (!options.output.empty()) {
    ASSIGN_OR_RETURN(output, LineAppender::Open(options.output, /*truncate=*/true));
  }
  McqOutcome outcome;
  Progress progress(terminal, "questions", static_cast<int64_t>(questions.size()));
  Status written = OkStatus();
  size_t next = 0;
  RunOrdered<const McqQuestion*, McqAnswer>(
      options.concurrency,
      [&]() -> std::optional<const McqQuestion*> {
        if (next == questions.size()) return std::nullopt;
        return &questions[next++];
      },
      [&](const McqQuestion*& question) { return AnswerQuestion(*question, options, score); },
      [&](McqAnswer answer) {
        if (answer.status.error_code() == grpc::StatusCode::UNAVAILABLE) {
          outcome.stopped = answer.status;
          return false;
        }
        outcome.tally.Add(answer);
        if (output.has_value()) written = output->Append(AnswerToJson(answer));
        progress.Advance(!answer.status.ok());
        if (on_answer) on_answer(answer);
        return written.ok();
      });
  outcome.seconds = absl::ToDoubleSeconds(progress.elapsed());
  outcome.questions_per_second = progress.rate();
  RETURN_IF_ERROR(written);
  return outcome;
}

}  // namespace switchyard::client
