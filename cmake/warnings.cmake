# What every target is compiled with; -Werror and sanitizers come from the presets.
add_library(qmpsnap_options INTERFACE)
target_compile_definitions(qmpsnap_options INTERFACE _GNU_SOURCE)
target_compile_options(qmpsnap_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
  -Wvla -Wformat=2 -fvisibility=hidden)
target_include_directories(qmpsnap_options INTERFACE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR})

# A layer is a static library: linking it brings what it needs.
function(qmpsnap_layer name)
  cmake_parse_arguments(layer "" "" "SOURCES;NEEDS" ${ARGN})
  add_library(qmpsnap_${name} STATIC ${layer_SOURCES})
  set_property(TARGET qmpsnap_${name} PROPERTY POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(qmpsnap_${name} PUBLIC qmpsnap_options ${layer_NEEDS})
endfunction()
