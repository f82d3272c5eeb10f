# PyTorch's checkpoints: the restricted reader of torch.save's files, and the imports of Dense2MoE's and MixLoRA's.
target_sources(switchyard_artifact PRIVATE
  dense2moe_adapter.cc dense2moe_checkpoint.cc dense2moe_import.cc element.cc ffn_lora.cc merged_base.cc mixlora_config.cc mixlora_import.cc mixlora_weights.cc pickle_machine.cc torch_pickle.cc zip_archive.cc)
