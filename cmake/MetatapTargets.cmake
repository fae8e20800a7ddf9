# metatap_together(TARGET COUNT): with METATAP_UNITY, so many of its sources at a time are compiled as one
# file; 0: all. Names of a file's own then differ from those of its neighbours.
function(metatap_together target count)
  if(METATAP_UNITY)
    # What a coroutine keeps may be of the file's own types; each file is included once.
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${count})
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# metatap_library(NAME [TOGETHER count] [DEPS targets...])
# One stage or layer: every .cpp of the folder, its headers included as <folder/header.hpp>.
function(metatap_library name)
  cmake_parse_arguments(ARG "" "TOGETHER" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(sources)
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/userspace)
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE metatap_warnings)
    if(DEFINED ARG_TOGETHER)
      metatap_together(${name} ${ARG_TOGETHER})
    endif()
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/userspace)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

# metatap_test(NAME [TOGETHER count] LABEL unit|bpf|netns|... SOURCES files... DEPS targets...)
# A GoogleTest program; LABEL says what it needs from the machine.
function(metatap_test name)
  cmake_parse_arguments(ARG "" "TOGETHER;LABEL" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  if(DEFINED ARG_TOGETHER)
    metatap_together(${name} ${ARG_TOGETHER})
  endif()
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main metatap_warnings)
  # What is tested is in the libraries; the cases are run once, and take longer to compile.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O0;-U_FORTIFY_SOURCE>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL})
endfunction()
