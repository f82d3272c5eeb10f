switchyard_test(torch_pickle_test SOURCES dense2moe_import_test.cc torch_pickle_test.cc DEPS switchyard::artifact LABELS artifact)
