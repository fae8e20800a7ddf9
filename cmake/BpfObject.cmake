# bpf_object(NAME source.bpf.c [headers...])
# Compiles one BPF source and generates its skeleton, <NAME>.skel.h, behind the interface target <NAME>_skel.
# A change in any listed header rebuilds both.
find_program(METATAP_BPF_CLANG NAMES clang-14 clang-16 clang-19 clang REQUIRED)
find_program(METATAP_BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)

function(bpf_object name source)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  set(headers ${ARGN})
  list(TRANSFORM headers PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ REGEX "^[^/]")
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${METATAP_BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-function -Wno-unused-parameter -Werror
            -I${PROJECT_SOURCE_DIR}/include -I${CMAKE_CURRENT_SOURCE_DIR}
            -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
            -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${source} ${headers}
    COMMENT "BPF ${source}" VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${METATAP_BPFTOOL} gen skeleton ${object} name ${name} > ${skeleton}
    DEPENDS ${object}
    COMMENT "BPF skeleton ${name}.skel.h" VERBATIM)
  add_custom_target(${name}_skel_files DEPENDS ${skeleton})
  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_skel_files)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
