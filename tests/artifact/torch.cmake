switchyard_test(torch_pickle_test SOURCES dense2moe_import_test.cc mixlora_import_test.cc torch_pickle_test.cc DEPS switchyard::artifact nlohmann_json::nlohmann_json LABELS artifact)
