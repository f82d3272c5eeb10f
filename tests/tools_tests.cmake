# Checks of the tree itself.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
add_test(NAME check_layers COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/check_layers ${PROJECT_SOURCE_DIR})
add_test(NAME check_layers.finds_a_wrong_arrow
  COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/check_layers_test.py ${PROJECT_SOURCE_DIR}/tools/check_layers)
