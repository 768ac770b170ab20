# What is installed beside programs and library: see docs/install.md.
set(packaged ${PROJECT_BINARY_DIR}/packaging)
configure_file(packaging/systemd/qmpsnap@.service.in ${packaged}/qmpsnap@.service @ONLY)
configure_file(packaging/apparmor/usr.bin.qmpsnap.in ${packaged}/usr.bin.qmpsnap @ONLY)

# systemd reads it below /usr and /usr/local alike.
install(FILES ${packaged}/qmpsnap@.service packaging/systemd/qmpsnap@.timer
  DESTINATION lib/systemd/system)
install(FILES ${packaged}/usr.bin.qmpsnap
  DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/apparmor.d)
file(GLOB manuals docs/*.md)
install(FILES README.md NEWS LICENSE ${manuals} DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES examples/snapshot_guests.c
  DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT development)
