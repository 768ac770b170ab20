# libqmpsnap: all layers but the command, as a shared library that exports the public header's
# functions alone, and as a static one in which nothing else is visible either.
set(layers base qmp blockops upload images)
foreach(layer IN LISTS layers)
  list(APPEND objects $<TARGET_OBJECTS:qmpsnap_${layer}>)
  list(APPEND layer_targets qmpsnap_${layer})
endforeach()
set(library_needs PkgConfig::libuv PkgConfig::json_c PkgConfig::libcurl PkgConfig::libnbd
  PkgConfig::libcrypto PkgConfig::yaml_0_1 PkgConfig::expat m)
set(symbol_map ${CMAKE_CURRENT_LIST_DIR}/libqmpsnap.map)

add_library(qmpsnap_shared SHARED ${objects})
target_link_libraries(qmpsnap_shared PRIVATE qmpsnap_options ${library_needs})
target_link_options(qmpsnap_shared PRIVATE "LINKER:--version-script=${symbol_map}")
set_target_properties(qmpsnap_shared PROPERTIES
  OUTPUT_NAME qmpsnap LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION 0
  LINK_DEPENDS ${symbol_map}
  ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

# One object whose hidden names have become local: they can't meet the names of a program.
set(whole ${PROJECT_BINARY_DIR}/libqmpsnap.o)
set(archive ${PROJECT_BINARY_DIR}/libqmpsnap.a)
add_custom_command(OUTPUT ${archive}
  COMMAND ${CMAKE_LINKER} -r -o ${whole} ${objects}
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${whole}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
  COMMAND ${CMAKE_AR} rcs ${archive} ${whole}
  DEPENDS ${layer_targets} COMMAND_EXPAND_LISTS VERBATIM) # make knows no other target's objects
add_custom_target(qmpsnap_static ALL DEPENDS ${archive})

configure_file(${CMAKE_CURRENT_LIST_DIR}/qmpsnap.pc.in ${PROJECT_BINARY_DIR}/qmpsnap.pc @ONLY)

install(TARGETS qmpsnap_shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
  NAMELINK_COMPONENT development)
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(FILES ${PROJECT_SOURCE_DIR}/include/qmpsnap.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${PROJECT_BINARY_DIR}/qmpsnap.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
