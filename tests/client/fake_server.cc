#include "tests/client/fake_server.h"

#include <algorithm>
#include <cstdint>

#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace switchyard::client {
namespace {

uint64_t Hash(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return hash;
}

template <typename Figure>
int Best(const v1::ScoreResponse& response, Figure figure) {
  int best = 0;
  for (int i = 1; i < response.scores_size(); ++i) {
    if (figure(response.scores(i)) > figure(response.scores(best))) best = i;
  }
  return best;
}

void AddShare(v1::RouteProfile* profile, const char* expert, uint64_t tokens, double share) {
  v1::ExpertShare* entry = profile->add_experts();
  entry->set_expert(expert);
  entry->set_tokens(tokens);
  entry->set_load_share(share);
  entry->set_weight_share(share);
}

}  // namespace

v1::Generations FakeGenerations() {
  v1::Generations generations;
  generations.set_snapshot("5a11ab1e0000000000000000");
  generations.set_base("ba5e00000000000000000000");
  generations.set_base_name("fake-base");
  generations.set_router("0deed00000000000");
  generations.set_router_name("fake-router");
  for (const char* name : {"law", "medicine", "zero"}) {
    v1::ExpertGeneration* expert = generations.add_experts();
    expert->set_name(name);
    expert->set_generation(std::string(name) + "-0123456789abcdef");
    expert->set_is_zero(std::string(name) == "zero");
  }
  return generations;
}

v1::Routes FakeRoutes() {
  v1::Routes routes;
  AddShare(routes.mutable_profile(), "law", 3, 0.5);
  AddShare(routes.mutable_profile(), "medicine", 2, 1.0 / 3);
  AddShare(routes.mutable_profile(), "zero", 1, 1.0 / 6);
  routes.mutable_profile()->set_rows(6);
  routes.mutable_profile()->set_zero_share(1.0 / 6);
  routes.mutable_profile()->set_mean_entropy(0.9);
  for (int layer = 0; layer < 2; ++layer) {
    v1::LayerProfile* entry = routes.add_layers();
    entry->set_layer(layer);
    AddShare(entry->mutable_profile(), "law", 3, layer == 0 ? 1.0 : 0.0);
    AddShare(entry->mutable_profile(), "medicine", 2, layer == 0 ? 0.0 : 0.6);
    AddShare(entry->mutable_profile(), "zero", 1, layer == 0 ? 0.0 : 0.4);
  }
  for (const char* text : {"The", " court", "\n"}) {
    v1::TokenRoute* token = routes.add_tokens();
    token->set_text(text);
    for (const int expert : {0, text[0] == '\n' ? 2 : 1}) {
      v1::LayerRoute* layer = token->add_layers();
      layer->add_experts(expert);
      layer->add_weights(1.0f);
      layer->set_entropy(0.5f);
      layer->set_margin(expert == 0 ? 0.25f : 0.125f);
    }
  }
  return routes;
}

FakeServer::FakeServer(Hooks hooks) : hooks_(std::move(hooks)) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", hooks_.credentials != nullptr ? hooks_.credentials : grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  address_ = "127.0.0.1:" + std::to_string(port);
}

FakeServer::~FakeServer() { server_->Shutdown(); }

double FakeServer::LogProb(const std::string& context, const std::string& continuation) {
  return -1.0 - static_cast<double>(Hash(context + "|" + continuation) % 100000) / 10000.0;
}

std::string FakeServer::Answer(const std::string& prompt) { return "Answer to <" + prompt + ">: naïve café.\n"; }

v1::GenerateRequest FakeServer::last_generate() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_generate_;
}

v1::RouteRequest FakeServer::last_route() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_route_;
}

v1::ScoreRequest FakeServer::last_score() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_score_;
}

grpc::Status FakeServer::Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                                  grpc::ServerWriter<v1::GenerateResponse>* writer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_generate_ = *request;
  }
  if (hooks_.generate) {
    if (const grpc::Status status = hooks_.generate(*request); !status.ok()) return status;
  }
  const std::string prompt = request->has_chat() ? request->chat().messages().rbegin()->content() : request->text();
  const std::string answer = Answer(prompt);
  const std::string pieces[] = {"Answer to ", "<" + prompt + ">", ": naïve", " café.\n"};
  int index = 0;
  for (const std::string& text : pieces) {
    v1::GenerateResponse piece;
    piece.set_id(request->id());
    piece.set_text(text);
    piece.add_tokens(100 + index);
    if (request->has_logprobs()) {
      v1::TokenLogProbs* logprob = piece.add_logprobs();
      logprob->set_token(100 + index);
      logprob->set_text(text);
      logprob->set_logprob(-0.5f * static_cast<float>(index + 1));
    }
    writer->Write(piece);
    if (hooks_.piece) {
      if (const grpc::Status status = hooks_.piece(index); !status.ok()) return status;
    }
    ++index;
  }
  v1::GenerateResponse last;
  last.set_id(request->id());
  v1::GenerateResponse::Finish* finish = last.mutable_finish();
  finish->set_reason(v1::GenerateResponse::REASON_STOP_TOKEN);
  finish->mutable_usage()->set_generated_tokens(index);
  finish->mutable_usage()->set_prompt_tokens(9);
  finish->mutable_timings()->set_tokens_per_second(12.5);
  finish->set_seed(7);
  *finish->mutable_generations() = FakeGenerations();
  if (request->routes() > v1::ROUTE_LEVEL_NONE) *finish->mutable_routes() = FakeRoutes();
  writer->Write(last);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Score(grpc::ServerContext*, const v1::ScoreRequest* request, v1::ScoreResponse* response) {
  struct InFlight {
    explicit InFlight(FakeServer* server) : count(server->in_flight_) {
      const int now = ++count;
      int most = server->most_in_flight_;
      while (now > most && !server->most_in_flight_.compare_exchange_weak(most, now)) {
      }
    }
    ~InFlight() { --count; }
    std::atomic<int>& count;
  } in_flight(this);
  ++score_calls_;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_score_ = *request;
  }
  if (hooks_.score) {
    if (const grpc::Status status = hooks_.score(*request); !status.ok()) return status;
  }
  response->set_id(request->id());
  for (const v1::Continuation& continuation : request->continuations()) {
    v1::ContinuationScore* score = response->add_scores();
    const double logprob = LogProb(request->text(), continuation.text());
    const auto length = static_cast<int>(continuation.text().size());
    score->set_logprob(logprob);
    score->set_tokens(2);
    score->set_bytes(length);
    score->set_characters(length);
    score->set_per_token(logprob / 2);
    score->set_per_character(logprob / length);
    score->set_per_byte(logprob / length);
    if (request->has_unconditional_text()) score->set_pmi(logprob - LogProb(request->unconditional_text(), continuation.text()));
  }
  v1::ScoreWinners* winners = response->mutable_winners();
  winners->set_sum(Best(*response, [](const auto& s) { return s.logprob(); }));
  winners->set_per_token(Best(*response, [](const auto& s) { return s.per_token(); }));
  winners->set_per_character(Best(*response, [](const auto& s) { return s.per_character(); }));
  winners->set_per_byte(Best(*response, [](const auto& s) { return s.per_byte(); }));
  if (request->has_unconditional_text()) winners->set_pmi(Best(*response, [](const auto& s) { return s.pmi(); }));
  *response->mutable_generations() = FakeGenerations();
  if (hooks_.edit_score) hooks_.edit_score(response);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Route(grpc::ServerContext*, const v1::RouteRequest* request, v1::RouteResponse* response) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_route_ = *request;
  }
  if (hooks_.route) {
    if (const grpc::Status status = hooks_.route(*request); !status.ok()) return status;
  }
  response->set_id(request->id());
  v1::Routes routes = FakeRoutes();
  if (request->level() < v1::ROUTE_LEVEL_TOKEN) routes.clear_tokens();
  if (request->level() < v1::ROUTE_LEVEL_LAYER) routes.clear_layers();
  *response->mutable_routes() = routes;
  *response->mutable_generations() = FakeGenerations();
  response->mutable_usage()->set_prompt_tokens(3);
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetModel(grpc::ServerContext* context, const v1::GetModelRequest*, v1::GetModelResponse* response) {
  if (hooks_.model) {
    if (const grpc::Status status = hooks_.model(*context); !status.ok()) return status;
  }
  *response->mutable_generations() = FakeGenerations();
  response->set_router_kind("dense2moe_mlp");
  response->set_top_k(2);
  response->set_layers(2);
  response->set_hidden_size(64);
  response->set_vocabulary(1000);
  response->set_max_positions(2048);
  response->set_dtype("bf16");
  response->set_has_chat_template(true);
  response->set_server_version("0.1.0");
  response->set_untrained(true);
  return grpc::Status::OK;
}

}  // namespace switchyard::client
