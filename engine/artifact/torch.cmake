# PyTorch's checkpoints: the restricted reader of torch.save's files, and the import of Dense2MoE's.
target_sources(switchyard_artifact PRIVATE
  dense2moe_adapter.cc dense2moe_checkpoint.cc dense2moe_import.cc element.cc pickle_machine.cc torch_pickle.cc zip_archive.cc)
