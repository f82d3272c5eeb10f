switchyard_test(torch_pickle_test SOURCES torch_pickle_test.cc DEPS switchyard::artifact LABELS artifact)
