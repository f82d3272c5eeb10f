# Checks of the tree itself.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
add_test(NAME check_layers COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/check_layers ${PROJECT_SOURCE_DIR})
add_test(NAME check_layers.finds_a_wrong_arrow
  COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/check_layers_test.py ${PROJECT_SOURCE_DIR}/tools/check_layers)
# Every header compiles by itself; those of the LibTorch rooms cost seconds each, and are checked with --libtorch.
add_test(NAME check_headers COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/check_headers ${PROJECT_BINARY_DIR})
set_tests_properties(check_headers PROPERTIES TIMEOUT 600)
