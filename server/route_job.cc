#include "server/route_job.h"

#include <utility>

#include "server/divergence_watch.h"
#include "server/reply_parts.h"
#include "server/request_text.h"
#include "server/routing_request.h"
#include "server/snapshot_choice.h"

namespace switchyard {
namespace {

StatusOr<RouteTask> MakeTask(const CallContext& context, const v1::RouteRequest& request, const CallTerms& terms) {
  const ServedModel& model = *context.model;
  RETURN_IF_ERROR(CheckId(request.id()));
  RETURN_IF_ERROR(CheckLevel(request.level(), "level"));
  RouteTask task;
  ASSIGN_OR_RETURN(task.snapshot, ChooseSnapshot(*model.engine->serving(), request.pinned(), CanaryKey(terms, request)));
  ASSIGN_OR_RETURN(task.policy, PolicyOf(request.routing(), task.snapshot->info()));
  ASSIGN_OR_RETURN(task.tokens, PromptTokens(model, context.limits, request, request.given_text()));
  task.record_routes = true;
  task.deadline = terms.deadline;
  return task;
}

}  // namespace

void RunRoute(const CallContext& context, const v1::RouteRequest& request, const CallTerms& terms,
              std::function<void(StatusOr<v1::RouteResponse>)> reply) {
  if (terms.link->cancelled()) return reply(Cancelled("the client cancelled the request"));
  auto task = MakeTask(context, request, terms);
  if (!task.ok()) return reply(task.status());
  const ServedModel* model = context.model;
  WorkerPool* workers = context.workers;
  DivergenceWatch* divergence = context.divergence;
  const v1::RouteLevel level = request.level() == v1::ROUTE_LEVEL_UNSPECIFIED ? v1::ROUTE_LEVEL_SUMMARY : request.level();
  auto shared_reply = std::make_shared<std::function<void(StatusOr<v1::RouteResponse>)>>(std::move(reply));
  auto submitted = model->engine->Route(*task, [=, id = request.id(), asked = *task](StatusOr<RouteResult> result) {
    auto shared_result = std::make_shared<StatusOr<RouteResult>>(std::move(result));
    workers->Post([=] {
      if (!shared_result->ok()) {
        if (divergence != nullptr) divergence->Failed(asked.snapshot, asked.policy, shared_result->status());
        return (*shared_reply)(shared_result->status());
      }
      const RouteResult& done = **shared_result;
      v1::RouteResponse response;
      response.set_id(id);
      const SnapshotInfo& info = done.snapshot->info();
      FillRoutes(done.routes, info, level, asked.tokens, *model->tokenizer, response.mutable_routes());
      FillUsage(done.usage, response.mutable_usage());
      FillTimings(done.usage, response.mutable_timings());
      FillGenerations(info, response.mutable_generations());
      (*shared_reply)(std::move(response));
      if (divergence != nullptr) divergence->Answered(asked);
    });
  });
  if (!submitted.ok()) return (*shared_reply)(submitted.status());
  terms.link->Attach(model->engine, *submitted);
}

}  // namespace switchyard
