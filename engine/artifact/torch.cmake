# PyTorch's checkpoints: the restricted reader of torch.save's files.
target_sources(switchyard_artifact PRIVATE pickle_machine.cc torch_pickle.cc zip_archive.cc)
