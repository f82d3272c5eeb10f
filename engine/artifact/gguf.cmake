# GGUF: the reader, the import into Hugging Face directories, and the command that runs it.
target_sources(switchyard_artifact PRIVATE gguf.cc gguf_quants.cc import_byte_tokenizer.cc import_gguf.cc import_model.cc import_tokenizer.cc)

add_executable(switchyard-import import_main.cc)
target_link_libraries(switchyard-import PRIVATE switchyard::artifact)
