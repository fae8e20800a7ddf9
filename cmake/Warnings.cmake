# Every target of ours links this; warnings are errors everywhere.
add_library(metatap_warnings INTERFACE)
target_compile_options(metatap_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers -Werror
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>
  # GCC 12 misjudges coroutine frames and inlined string code in these at -O2.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-error=maybe-uninitialized -Wno-error=restrict -Wno-error=stringop-overflow -Wno-error=array-bounds -Wno-mismatched-new-delete>
  # libstdc++'s own stable_sort() uses what it deprecates.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
