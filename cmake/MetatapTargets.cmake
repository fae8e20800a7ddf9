# metatap_library(NAME [UNITY] [DEPS targets...])
# One stage or layer: every .cpp of the folder, its headers included as <folder/header.hpp>. UNITY:
# with METATAP_UNITY, compiled as one file.
function(metatap_library name)
  cmake_parse_arguments(ARG "UNITY" "" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(sources)
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/userspace)
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE metatap_warnings)
    if(METATAP_UNITY AND ARG_UNITY)
      # What a coroutine keeps may be of the file's own types; each file is included once.
      set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
      target_compile_options(${name} PRIVATE -Wno-subobject-linkage)
    endif()
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/userspace)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

# metatap_test(NAME LABEL unit|bpf|netns|... SOURCES files... DEPS targets...)
# A GoogleTest program; LABEL says what it needs from the machine.
function(metatap_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main metatap_warnings)
  # What is tested is in the libraries; the cases are run once, and take longer to compile.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O0>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL})
endfunction()
