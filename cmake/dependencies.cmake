# Finds what Debian 12 has and names the package that is missing.
find_package(PkgConfig REQUIRED)

function(qmpsnap_require module package)
  string(MAKE_C_IDENTIFIER ${module} id)
  pkg_check_modules(${id} IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${id}_FOUND)
    message(FATAL_ERROR
      "${module} is missing: apt-get install ${package} (scripts/install-deps installs all)")
  endif()
endfunction()

qmpsnap_require(json-c libjson-c-dev)
qmpsnap_require(libuv libuv1-dev)
qmpsnap_require(libcurl libcurl4-openssl-dev)
qmpsnap_require(libnbd libnbd-dev)
qmpsnap_require(libcrypto libssl-dev)
qmpsnap_require(yaml-0.1 libyaml-dev)
qmpsnap_require(expat libexpat1-dev)
