# Compiler cache, fast linker and sanitizers: used where they are, never required.
set(METATAP_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")
option(METATAP_COVERAGE "Count the lines that are run" OFF)

find_program(METATAP_CCACHE ccache)
if(METATAP_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${METATAP_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${METATAP_CCACHE})
endif()

find_program(METATAP_MOLD mold)
if(METATAP_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(METATAP_SANITIZE)
  add_compile_options(-fsanitize=${METATAP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${METATAP_SANITIZE})
  if(METATAP_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)  # Asio's fences, which GCC 12 only warns about
  endif()
  if(METATAP_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
endif()

if(METATAP_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)  # by all threads
  add_link_options(--coverage)
endif()
