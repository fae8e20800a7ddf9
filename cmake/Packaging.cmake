# Where an installed metatap has its files, and the Debian package of it:
#
#   cmake --install build                          puts them into this system
#   cpack --config build/CPackConfig.cmake -B OUT  makes OUT/metatap_<version>_<architecture>.deb
#
# The units name /usr; the presets say so to CMake.
set(packaging ${PROJECT_SOURCE_DIR}/packaging)
set(made ${PROJECT_BINARY_DIR}/packaging)

# packed(SOURCE NAME): SOURCE as NAME.gz, made when configuring, the same bytes each time.
function(packed source name)
  execute_process(COMMAND gzip -9nc ${source} OUTPUT_FILE ${made}/${name}.gz COMMAND_ERROR_IS_FATAL ANY)
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
endfunction()

# The template for several daemons on one host is the unit with names of its own for everything.
function(unit_template unit template)
  file(READ ${packaging}/${unit} text)
  foreach(pair
      "this host|this host (%i)"
      "/etc/default/metatapd|/etc/default/metatapd-%i"
      "metatap/metatapd.conf --config-dir /etc/metatap/metatapd.conf.d|metatap/%i.conf"
      "Directory=metatap\n|Directory=metatap/%i\n")
    string(REPLACE "|" ";" pair "${pair}")
    list(GET pair 0 from)
    list(GET pair 1 to)
    string(FIND "${text}" "${from}" found)
    if(found EQUAL -1)
      message(FATAL_ERROR "${unit}: ${template} is made by replacing \"${from}\", which is not there")
    endif()
    string(REPLACE "${from}" "${to}" text "${text}")
  endforeach()
  file(CONFIGURE OUTPUT ${made}/${template} CONTENT "${text}" @ONLY)
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${packaging}/${unit})
endfunction()

# Who builds packages for others puts an address of its own here.
set(METATAP_MAINTAINER "metatap maintainers <metatap@example.org>" CACHE STRING "Maintainer of the package")

file(MAKE_DIRECTORY ${made})
unit_template(metatapd.service metatapd@.service)
packed(${packaging}/man/metatap.1 metatap.1)
packed(${packaging}/man/metatapd.8 metatapd.8)
packed(${packaging}/man/metatapd.conf.5 metatapd.conf.5)
configure_file(${packaging}/debian/changelog.in ${made}/changelog @ONLY)
packed(${made}/changelog changelog)

install(TARGETS metatap RUNTIME DESTINATION bin)
install(TARGETS metatapd RUNTIME DESTINATION sbin)
# The daemon holds its own copy; this one is for bpftool and whoever looks into it.
install(FILES ${PROJECT_BINARY_DIR}/bpf/metatap_bpf.bpf.o DESTINATION lib/metatap RENAME metatap.bpf.o)
install(FILES ${packaging}/metatapd.service ${packaging}/metatap-agent.service ${packaging}/metatap-api.service
              ${made}/metatapd@.service
        DESTINATION lib/systemd/system)
install(FILES ${packaging}/metatap.sysusers DESTINATION lib/sysusers.d RENAME metatap.conf)
install(FILES ${packaging}/metatap.tmpfiles DESTINATION lib/tmpfiles.d RENAME metatap.conf)
install(FILES ${packaging}/split/agent.conf ${packaging}/split/api.conf ${packaging}/split/proxy.conf
        DESTINATION share/metatap)
install(FILES ${packaging}/metatap.bash-completion DESTINATION share/bash-completion/completions RENAME metatap)
install(FILES ${packaging}/metatap.bash-completion DESTINATION share/bash-completion/completions RENAME metatapd)
install(FILES ${made}/metatap.1.gz DESTINATION share/man/man1)
install(FILES ${made}/metatapd.8.gz DESTINATION share/man/man8)
install(FILES ${made}/metatapd.conf.5.gz DESTINATION share/man/man5)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${made}/changelog.gz DESTINATION share/doc/metatap)
install(FILES ${packaging}/debian/copyright DESTINATION share/doc/metatap)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs DESTINATION share/doc/metatap)
install(FILES ${packaging}/debian/lintian-overrides DESTINATION share/lintian/overrides RENAME metatap)
install(FILES ${packaging}/metatap.rules.yml ${packaging}/metatap.dashboard.json DESTINATION share/metatap)
file(GLOB schemas CONFIGURE_DEPENDS ${packaging}/*.schema.json)
if(schemas)
  install(FILES ${schemas} DESTINATION share/metatap)
endif()
# Absolute: /etc is beside /usr, not in it. What is there already stays as the operator has it.
foreach(pair "metatapd.conf|/etc/metatap/metatapd.conf" "metatapd.default|/etc/default/metatapd")
  string(REPLACE "|" ";" pair ${pair})
  list(GET pair 0 from)
  list(GET pair 1 to)
  install(CODE "
    if(NOT EXISTS \"\$ENV{DESTDIR}${to}\")
      configure_file(${packaging}/${from} \"\$ENV{DESTDIR}${to}\" COPYONLY)
      message(STATUS \"Installing: \$ENV{DESTDIR}${to}\")
    endif()")
endforeach()
install(DIRECTORY DESTINATION /etc/metatap/metatapd.conf.d)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME metatap)
set(CPACK_PACKAGE_VENDOR metatap)
set(CPACK_PACKAGE_CONTACT ${METATAP_MAINTAINER})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS
    "systemd | systemd-standalone-sysusers | systemd-sysusers, systemd | systemd-standalone-tmpfiles | systemd-tmpfiles")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bpftool, iproute2")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "instance metadata for the guests of a host, from one process")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"TC/eBPF programs on the guests' taps and routers' ports pick out requests to
169.254.169.254 and fe80::a9fe:a9fe, tag them with the port they came from and
steer them to metatapd, which answers as OpenStack's metadata service does:
in the place of Neutron's haproxy, or of its agent and Nova's API too.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${packaging}/debian/conffiles ${packaging}/debian/postinst ${packaging}/debian/prerm ${packaging}/debian/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
