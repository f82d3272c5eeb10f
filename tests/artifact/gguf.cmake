switchyard_test(gguf_test SOURCES gguf_quants_test.cc gguf_test.cc import_byte_tokenizer_test.cc import_gguf_test.cc DEPS switchyard::artifact switchyard::text LABELS artifact)
