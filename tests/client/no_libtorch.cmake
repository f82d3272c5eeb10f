# The client must run where no LibTorch is. BINARY: the client.
execute_process(COMMAND ldd ${BINARY} OUTPUT_VARIABLE libraries RESULT_VARIABLE result)
if(NOT result EQUAL 0 OR NOT libraries MATCHES "libgrpc")
  message(FATAL_ERROR "ldd ${BINARY} did not list the libraries expected of the client (result ${result}):\n${libraries}")
endif()
if(libraries MATCHES "libtorch|libc10|libcudart")
  message(FATAL_ERROR "the client loads LibTorch:\n${libraries}")
endif()
