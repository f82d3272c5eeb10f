// Route and GetModel.
#include "tests/server/server_fixture.h"

namespace switchyard {
namespace {

class RouteTest : public ServerTest {
 protected:
  v1::RouteResponse Routed(const v1::RouteRequest& request) {
    v1::RouteResponse response;
    const grpc::Status status = Route(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
};

TEST_F(RouteTest, LevelTokenIsTheTraceAndTheProfilesAreItsSums) {
  Start();
  v1::RouteRequest request;
  request.set_id("r");
  request.set_text("the op");
  request.set_given_text(" ing");
  request.set_level(v1::ROUTE_LEVEL_TOKEN);
  const v1::RouteResponse response = Routed(request);
  const auto tokens = *tokenizer_->Encode("the op ing", true);
  EXPECT_EQ(response.id(), "r");
  ASSERT_EQ(response.routes().tokens_size(), static_cast<int>(tokens.size()));
  double zero_weight = 0, weight = 0;
  uint64_t selections = 0;
  std::vector<uint64_t> selected(4);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const v1::TokenRoute& token = response.routes().tokens(static_cast<int>(t));
    EXPECT_EQ(token.token(), tokens[t]);
    EXPECT_EQ(token.text(), *tokenizer_->Decode({tokens[t]}, false));
    ASSERT_EQ(token.layers_size(), 3);
    const uint64_t hash = fake::PrefixHash(info(), {}, std::span(tokens).first(t + 1));
    const RouteTrace expected = fake::Routes(hash, info(), {}, static_cast<int32_t>(t));
    for (int l = 0; l < 3; ++l) {
      const v1::LayerRoute& layer = token.layers(l);
      ASSERT_EQ(layer.experts_size(), 2);
      for (int slot = 0; slot < 2; ++slot) {
        EXPECT_EQ(layer.experts(slot), expected.experts[l * 2 + slot]);
        EXPECT_EQ(layer.weights(slot), expected.weights[l * 2 + slot]);
        ++selected[layer.experts(slot)];
        ++selections;
        weight += layer.weights(slot);
        if (layer.experts(slot) == 3) zero_weight += layer.weights(slot);
      }
      EXPECT_EQ(layer.entropy(), expected.entropy[l]);
      EXPECT_EQ(layer.margin(), 0.125f);
    }
  }
  const v1::RouteProfile& profile = response.routes().profile();
  const double rows = static_cast<double>(tokens.size()) * 3;
  EXPECT_EQ(profile.rows(), tokens.size() * 3);
  EXPECT_NEAR(profile.zero_share(), zero_weight / rows, 1e-6);
  EXPECT_NEAR(profile.base_mass(), 1 - (weight - zero_weight) / rows, 1e-6);
  EXPECT_NEAR(profile.mean_margin(), 0.125, 1e-9);
  for (int e = 0; e < 4; ++e) {
    EXPECT_EQ(profile.experts(e).tokens(), selected[e]);
    EXPECT_NEAR(profile.experts(e).load_share(), static_cast<double>(selected[e]) / static_cast<double>(selections), 1e-9);
  }
  ASSERT_EQ(response.routes().layers_size(), 3);
  uint64_t layer_rows = 0;
  for (const v1::LayerProfile& layer : response.routes().layers()) layer_rows += layer.profile().rows();
  EXPECT_EQ(layer_rows, profile.rows());
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(RouteTest, LowerLevelsLeaveOutWhatWasNotAskedFor) {
  Start();
  v1::RouteRequest request;
  request.set_text("the op");
  const v1::RouteResponse summary = Routed(request);
  EXPECT_TRUE(summary.routes().has_profile());
  EXPECT_EQ(summary.routes().layers_size(), 0);
  request.set_level(v1::ROUTE_LEVEL_LAYER);
  const v1::RouteResponse layers = Routed(request);
  EXPECT_EQ(layers.routes().layers_size(), 3);
  EXPECT_EQ(layers.routes().tokens_size(), 0);
}

TEST_F(RouteTest, UndefinedFiguresAreAbsent) {
  Start();
  v1::RouteRequest request;
  request.set_text("x");
  request.mutable_routing()->set_forced_expert("expert-0");
  const v1::RouteProfile profile = Routed(request).routes().profile();
  EXPECT_FALSE(profile.has_mean_entropy());
  EXPECT_FALSE(profile.has_mean_margin());
  EXPECT_EQ(profile.base_mass(), 0);
  EXPECT_EQ(profile.zero_share(), 0);
}

TEST_F(RouteTest, RecordedRoutesCanBeReplayed) {
  Start();
  v1::RouteRequest request;
  request.set_text("the op ing");
  request.set_level(v1::ROUTE_LEVEL_TOKEN);
  const v1::RouteResponse recorded = Routed(request);
  *request.mutable_routing()->mutable_replay()->mutable_tokens() = recorded.routes().tokens();
  const v1::RouteResponse replayed = Routed(request);
  ASSERT_EQ(replayed.routes().tokens_size(), recorded.routes().tokens_size());
  for (int t = 0; t < recorded.routes().tokens_size(); ++t) {
    for (int l = 0; l < 3; ++l) {
      const auto& a = recorded.routes().tokens(t).layers(l);
      const auto& b = replayed.routes().tokens(t).layers(l);
      EXPECT_TRUE(std::equal(a.experts().begin(), a.experts().end(), b.experts().begin(), b.experts().end()));
      EXPECT_TRUE(std::equal(a.weights().begin(), a.weights().end(), b.weights().begin(), b.weights().end()));
    }
  }
  // Too few recorded tokens are an error, not a guess.
  request.mutable_routing()->mutable_replay()->mutable_tokens()->RemoveLast();
  v1::RouteResponse response;
  EXPECT_EQ(Route(request, &response).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(RouteTest, BadRequestsSayWhatIsWrong) {
  Start();
  v1::RouteResponse response;
  EXPECT_EQ(Route({}, &response).error_code(), grpc::INVALID_ARGUMENT);
  v1::RouteRequest request;
  request.set_text(std::string(201, 'x'));
  const grpc::Status status = Route(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("202 tokens, the model takes at most 200"));
}

TEST_F(RouteTest, TextThatIsNotUtf8IsRefusedWithTheFieldsName) {
  Start();
  v1::RouteRequest request;
  request.set_text("x\xC3\x28");
  v1::RouteResponse response;
  const grpc::Status status = Route(request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("'switchyard.v1.RouteRequest.text' contains invalid UTF-8"));
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(RouteTest, AnOversizedReplyIsAnErrorAndNotCutOff) {
  ServerOptions options = TestOptions();
  options.max_message_mib = 1;
  Start(options, {.num_blocks = 2000, .max_positions = 6000, .num_layers = 60});
  v1::RouteRequest request;
  request.set_text(std::string(5000, 'x'));
  request.set_level(v1::ROUTE_LEVEL_TOKEN);
  v1::RouteResponse response;
  const grpc::Status status = Route(request, &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("the server sends at most 1048576"));
  v1::GenerateRequest generate = LongRequest(request.text(), 3);
  generate.set_routes(v1::ROUTE_LEVEL_TOKEN);
  EXPECT_EQ(Generate(generate).status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(EverythingIsFree());
}

TEST_F(RouteTest, AnOversizedMessageIsRefusedWithItsSize) {
  ServerOptions options = TestOptions();
  options.max_message_mib = 1;
  Start(options);
  v1::RouteRequest request;
  request.set_text(std::string(2 << 20, 'x'));
  v1::RouteResponse response;
  const grpc::Status status = Route(request, &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("1048576"));
}

TEST_F(RouteTest, GetModelSaysWhatIsServed) {
  model_.untrained = true;
  Start();
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.generations().base_name(), "fake");
  EXPECT_EQ(model.generations().experts(3).name(), "zero");
  EXPECT_TRUE(model.generations().experts(3).is_zero());
  EXPECT_EQ(model.router_kind(), "linear");
  EXPECT_EQ(model.top_k(), 2);
  EXPECT_EQ(model.layers(), 3);
  EXPECT_EQ(model.vocabulary(), 61);
  EXPECT_EQ(model.max_positions(), 200);
  EXPECT_EQ(model.dtype(), "f32");
  EXPECT_TRUE(model.has_chat_template());
  EXPECT_TRUE(model.untrained());
  EXPECT_FALSE(model.server_version().empty());
}

}  // namespace
}  // namespace switchyard
