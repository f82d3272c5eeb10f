#include "trainer/commands/router_flags.h"

namespace switchyard::trainer {

void RouterFlags::AddTo(CLI::App& app) {
  router.dropout = 0.1;
  app.add_option("--name", name)->capture_default_str()->group("Router");
  app.add_option("--kind", router.kind,
                 "dense2moe_mlp, linear, expert_choice or lpr; stablemoe with --init, a linear router of gate sigmoid, whose choices it "
                 "freezes into tables")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--top-k", router.top_k, "experts a token")->capture_default_str()->group("Router");
  app.add_option("--gate", gate,
                 "ste (top-1, straight-through), renorm (divided by their sum), raw (Switch), sigmoid (top-1, StableMoE); auto: by kind, "
                 "else ste or renorm by --top-k")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--balance", balance,
                 "coefficient of the balance loss; or loss-free (linear): a bias that only decides who is chosen, towards the training mix")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--balance-rate", balance_rate, "loss-free: how far the bias moves a step")->capture_default_str()->group("Router");
  app.add_option("--dispatch", router.dispatch.rule,
                 "which rows of a training pass get which expert: top-k, each its own; capacity (Switch: what an expert cannot take is "
                 "dropped); max-score (none is dropped, all experts get equally many); "
                 "max-score-iterative (nearly that, faster). Served is always top-k")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--capacity-factor", router.dispatch.capacity_factor,
                 "capacity, and kind expert_choice: rows an expert takes, of its equal share")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--second-weight", second_weight,
                 "max-score: gates after a row's first are multiplied by this at the first step, by 1 at the last")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--jitter", router.jitter, "multiplies inputs by U(1 - jitter, 1 + jitter)")->capture_default_str()->group("Router");
  app.add_option("--router-dropout", router.dropout, "between the layers of dense2moe_mlp")->capture_default_str()->group("Router");
  app.add_option("--train", train, "router, mlp (the experts), attention, or several joined: router_mlp")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--init", init, "a router artifact to start from")->group("Router");
  app.add_flag("--random", random, "publish a router as it is drawn, untrained: a control")->group("Router");
  AddLosses(app);
  experts.AddTo(app, /*may_be_fresh=*/true);
  common.AddTo(app, 5e-4);
}

void RouterFlags::AddLosses(CLI::App& app) {
  app.add_option("--score-variance", router.score_variance,
                 "coefficient of the variance of each expert's score over the tokens, which is to be large (2505.22323, L_v)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Router");
  LatentOptions& latent = router.latent;
  app.add_option("--latent-dimension", latent.dimension, "of the latent space")->capture_default_str()->group("Kind lpr");
  app.add_option("--latent-loss", latent.loss, "coefficient of the three losses below together")->capture_default_str()->group("Kind lpr");
  app.add_option("--latent-diversity", latent.diversity, "latents, and keys, at right angles")->capture_default_str()->group("Kind lpr");
  app.add_option("--latent-kl", latent.kl, "latents distributed as a standard normal")->capture_default_str()->group("Kind lpr");
  app.add_option("--latent-align", latent.align, "keys at the mean of their tokens")->capture_default_str()->group("Kind lpr");
  app.add_option("--latent-decay", latent.decay, "after a step a key is so much itself, the rest the mean of its tokens; 1: it stays")
      ->capture_default_str()
      ->group("Kind lpr");
  app.add_option("--roma", router.roma,
                 "coefficient of RoMA's regulariser (2511.07419): an example's route at its prompt's end is pulled towards those of its "
                 "neighbours that the starting model answers right; rises over the warm-up")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("RoMA");
  app.add_option("--roma-neighbours", manifold.neighbours, "of each example")->capture_default_str()->group("RoMA");
  app.add_option("--roma-layers", manifold.layers, "the last so many are pulled")->capture_default_str()->group("RoMA");
  app.add_option("--roma-sigma", manifold.sigma, "width of the kernel over the distances 1 - cosine")->capture_default_str()->group("RoMA");
  app.add_option("--roma-right", manifold.right,
                 "an example is answered right when at least this part of its answer's tokens are the most probable ones")
      ->capture_default_str()
      ->group("RoMA");
  app.add_option("--expert-orthogonality", orthogonality,
                 "with --train router_mlp: coefficient of what the outputs of experts that share a token have in common (2505.22323, L_o)")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--z-loss", router.z_loss, "coefficient of the z-loss")->capture_default_str()->group("Router");
  app.add_option("--label-loss", router.label_loss,
                 "coefficient of the cross entropy against the expert named as a row's domain, zero for others")
      ->capture_default_str()
      ->group("Router");
  app.add_option("--label-steps", label_steps,
                 "first so many steps on the router's own losses alone, which need no way back through the model")
      ->capture_default_str()
      ->group("Router");
}

std::string RouterFlags::Decisive(const RouterOptions& r) const {
  std::string text = absl::StrFormat("router|%s|%s|%s|%d|%s|%g|%g|%g|%g|%g|%d", train, init, r.kind, r.top_k, r.gate, r.balance, r.z_loss,
                                     r.jitter, r.dropout, r.label_loss, label_steps);
  if (r.loss_free > 0) text += absl::StrFormat("|loss-free %g", r.loss_free);
  if (r.dispatch.rule != "top-k")
    text += absl::StrFormat("|dispatch %s %g %g", r.dispatch.rule, r.dispatch.capacity_factor, r.second_weight);
  if (r.kind == "lpr") {
    const LatentOptions& o = r.latent;
    text += absl::StrFormat("|lpr %d %g %g %g %g %g", o.dimension, o.loss, o.diversity, o.kl, o.align, o.decay);
  }
  if (r.score_variance > 0) text += absl::StrFormat("|score-variance %g", r.score_variance);
  if (orthogonality > 0) text += absl::StrFormat("|orthogonality %g", orthogonality);
  if (r.roma > 0) {
    const ManifoldOptions& m = manifold;
    text += absl::StrFormat("|roma %g %d %d %g %g", r.roma, m.neighbours, m.layers, m.sigma, m.right);
  }
  return text;
}

std::map<std::string, std::string> RouterFlags::Told(const RouterOptions& r, int64_t steps) const {
  std::map<std::string, std::string> told = {{"train", train},
                                             {"gate", r.gate},
                                             {"dispatch", r.dispatch.rule},
                                             {"steps", std::to_string(steps)},
                                             {"learning-rate", absl::StrFormat("%g", common.learning_rate)},
                                             {"seed", std::to_string(common.seed)}};
  const auto add = [&](const char* option, double value) {
    if (value > 0) told[option] = absl::StrFormat("%g", value);
  };
  add("balance", r.balance);
  add("loss-free", r.loss_free);
  add("score-variance", r.score_variance);
  add("expert-orthogonality", orthogonality);
  add("z-loss", r.z_loss);
  add("label-loss", r.label_loss);
  add("roma", r.roma);
  if (r.kind == "lpr") {
    add("latent-loss", r.latent.loss);
    add("latent-diversity", r.latent.diversity);
    add("latent-kl", r.latent.kl);
    add("latent-align", r.latent.align);
    add("latent-decay", r.latent.decay);
  }
  add("label-steps", static_cast<double>(label_steps));
  add("jitter", r.jitter);
  return told;
}

}  // namespace switchyard::trainer
