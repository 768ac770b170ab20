# SPDX-License-Identifier: Apache-2.0
"""What of a QEMU a snapshot touches, as a model: nodes, jobs, exports, descriptors, run state.

It refuses what QEMU refuses (a name twice, a node in use, a job that isn't concluded, a second NBD
server), so that what is left in it is a proof. What QEMU would allow and we must never do (`cont`
of a guest that isn't paused, a switch to the node that is there already) is noted in `wrong`."""
import os

from jobs import DISK_BYTES, Jobs, Refused

DATA_BYTES = 256 << 10  # of each disk; behind it is a hole


class Model(Jobs):
    """`emit(name, data)` takes events."""

    def __init__(self, version, disks, status="running"):
        self.version, self.status = version, status
        self.emit = lambda name, data: None
        self.frozen = False
        self.full = False  # the host's file system
        self.ended = False
        self.wrong = []
        self.nodes = {}  # name -> {"driver", "children": {edge: name}, "file", "fdset"}
        self.devices = {}  # QOM path -> node
        self.jobs = {}
        self.exports = {}
        self.fds = {}  # getfd
        self.fdsets = {}  # number -> {"opaque", "fd"}
        self.server = None  # the listening socket
        self.n_unnamed = 0
        self.open_disks = [os.open(path, os.O_RDWR) for path in disks]
        for index, path in enumerate(disks):
            self.nodes[f"file{index}"] = {"driver": "file", "children": {}, "file": path}
            self.nodes[f"drive{index}"] = {"driver": "raw", "children": {"file": f"file{index}"},
                                           "file": path}
            self.devices[f"/machine/peripheral/vd{index}"] = f"drive{index}"

    # ---- what is left: compared before and after

    def state(self):
        return {"status": self.status, "frozen": self.frozen, "nodes": sorted(self.nodes),
                "devices": self.devices, "jobs": sorted(self.jobs), "exports": sorted(self.exports),
                "fds": sorted(self.fds), "fdsets": [s["opaque"] for s in self.fdsets.values()],
                "server": self.server is not None}

    # ---- helpers

    def node(self, name):
        if name not in self.nodes:
            raise Refused(f"Cannot find device='' nor node-name='{name}'")
        return self.nodes[name]

    def users(self, name):
        found = [f"node {parent}" for parent, node in self.nodes.items()
                 if name in node["children"].values()]
        found += [f"device {path}" for path, node in self.devices.items() if node == name]
        found += [f"job {job}" for job, data in self.jobs.items()
                  if name in (data.node, data.target) and data.status != "null"]
        found += [f"export {export}" for export, data in self.exports.items()
                  if data["node"] == name]
        return found

    def descriptor(self, name):
        while name:
            node = self.nodes[name]
            if node.get("fdset") is not None:
                return node["fd"]
            name = node["children"].get("file")
        return None

    # ---- commands: do_NAME(arguments, fds) returns the reply

    def run(self, command, arguments, fds=()):
        method = getattr(self, "do_" + command.replace("-", "_"), None)
        if method is None:
            raise Refused(f"The command {command} has not been found", "CommandNotFound")
        return method(arguments, list(fds))

    def do_query_version(self, _arguments, _fds):
        major, minor, micro = self.version
        return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": "(a model)"}

    def do_query_name(self, _arguments, _fds):
        return {"name": "guest"}

    def do_query_uuid(self, _arguments, _fds):
        return {"UUID": "6a1c7a54-4b55-4a8c-9f5e-0d6f1d6e8b11"}

    def do_query_status(self, _arguments, _fds):
        return {"status": self.status, "running": self.status == "running"}

    def do_query_iothreads(self, _arguments, _fds):
        return []

    def do_query_qmp_schema(self, _arguments, _fds):
        return schema()

    def do_qom_get(self, arguments, _fds):
        if arguments["path"] not in self.devices:
            raise Refused(f"Device '{arguments['path']}' not found", "DeviceNotFound")
        if arguments["property"] == "type":
            return "virtio-blk-pci"
        raise Refused(f"Property 'virtio-blk-pci.{arguments['property']}' not found")

    def do_query_named_block_nodes(self, _arguments, _fds):
        return [{"node-name": name, "drv": node["driver"], "ro": False, "encrypted": False,
                 "file": node.get("file", ""), "image": self.image(node)}
                for name, node in self.nodes.items()]

    @staticmethod
    def image(node):
        return {"filename": node.get("file", ""), "format": node["driver"],
                "virtual-size": DISK_BYTES, "actual-size": DATA_BYTES}

    def do_query_block(self, _arguments, _fds):
        return [{"device": "", "qdev": f"{path}/virtio-backend", "removable": False,
                 "io-status": "nospace" if self.status == "io-error" else "ok",
                 "locked": False, "type": "unknown",
                 "inserted": {"node-name": node, "drv": self.nodes[node]["driver"], "ro": False,
                              "file": self.nodes[node].get("file", ""), "encrypted": False,
                              "detect_zeroes": "off", "image": self.image(self.nodes[node]),
                              "cache": {"writeback": True, "direct": False, "no-flush": False}}}
                for path, node in self.devices.items()]

    def do_query_blockstats(self, _arguments, _fds):
        return [{"qdev": f"{path}/virtio-backend", "node-name": node,
                 "stats": {"wr_operations": 0, "wr_bytes": 0, "wr_total_time_ns": 0,
                           "rd_operations": 0, "rd_bytes": 0, "rd_total_time_ns": 0,
                           "flush_operations": 0, "flush_total_time_ns": 0,
                           "wr_highest_offset": 0}}
                for path, node in self.devices.items()]

    def do_x_debug_query_block_graph(self, _arguments, _fds):
        ids = {name: number + 1 for number, name in enumerate(self.nodes)}
        return {"nodes": [{"id": ids[name], "type": "block-driver", "name": name}
                          for name in self.nodes],
                "edges": [{"parent": ids[name], "child": ids[child], "name": edge}
                          for name, node in self.nodes.items()
                          for edge, child in node["children"].items()]}

    def do_query_migrate(self, _arguments, _fds):
        return {}  # nobody ever has

    # ---- run state

    def do_stop(self, _arguments, _fds):
        if self.status == "running":
            self.status = "paused"
            self.emit("STOP", {})
        return {}

    def do_cont(self, _arguments, _fds):
        if self.status not in ("paused", "io-error"):
            self.wrong.append(f"cont of a guest that is {self.status}")
        if self.status != "running":
            self.status = "running"
            self.emit("RESUME", {})
        return {}

    # ---- descriptors

    def do_getfd(self, arguments, fds):
        if not fds:
            raise Refused("No file descriptor supplied via SCM_RIGHTS")
        self.fds[arguments["fdname"]] = fds.pop()
        return {}

    def do_closefd(self, arguments, _fds):
        if arguments["fdname"] not in self.fds:
            raise Refused(f"File descriptor named '{arguments['fdname']}' not found")
        os.close(self.fds.pop(arguments["fdname"]))
        return {}

    def do_add_fd(self, arguments, fds):
        if not fds:
            raise Refused("No file descriptor supplied via SCM_RIGHTS")
        number = 0
        while number in self.fdsets:
            number += 1
        fd = fds.pop()
        self.fdsets[number] = {"opaque": arguments.get("opaque", ""), "fd": fd, "removed": False}
        return {"fdset-id": number, "fd": fd}

    def do_remove_fd(self, arguments, _fds):
        number = arguments["fdset-id"]
        if number not in self.fdsets:
            raise Refused(f"File descriptor named 'fdset-id:{number}' not found")
        self.fdsets[number]["removed"] = True
        self.drop_fdsets()
        return {}

    def do_query_fdsets(self, _arguments, _fds):
        return [{"fdset-id": number, "fds": [{"fd": item["fd"], "opaque": item["opaque"]}]}
                for number, item in self.fdsets.items()]

    def drop_fdsets(self):
        used = {node.get("fdset") for node in self.nodes.values()}
        for number, item in list(self.fdsets.items()):
            if item["removed"] and number not in used:
                os.close(item["fd"])
                del self.fdsets[number]

    # ---- nodes

    def do_blockdev_add(self, arguments, _fds):
        self.add_node(arguments, arguments["node-name"])
        return {}

    def add_node(self, options, name):
        if name in self.nodes:
            raise Refused(f"Duplicate nodes with node-name='{name}'")
        if len(name) > 31:
            raise Refused("Node name too long")
        node = {"driver": options["driver"], "children": {}, "own": []}
        if options["driver"] == "file":
            self.open_file(node, options["filename"])
        for edge in ("file", "target", "backing"):
            child = options.get(edge)
            if isinstance(child, dict):
                self.n_unnamed += 1
                inner = f"#block{self.n_unnamed}"
                self.add_node(child, inner)
                node["own"].append(inner)
                child = inner
            if isinstance(child, str):
                self.node(child)
                node["children"][edge] = child
        if options["driver"] == "snapshot-access" and \
                self.node(node["children"]["file"])["driver"] != "copy-before-write":
            raise Refused("snapshot-access needs a filter below it")
        self.nodes[name] = node

    def open_file(self, node, path):
        node["file"] = path
        if path.startswith("/dev/fdset/"):
            number = int(path.rsplit("/", 1)[1])
            if number not in self.fdsets:
                raise Refused(f"Could not open '{path}': No such file or directory")
            node["fdset"] = number
            node["fd"] = self.fdsets[number]["fd"]
        elif not os.path.exists(path):
            raise Refused(f"Could not open '{path}': No such file or directory")

    def do_blockdev_del(self, arguments, _fds):
        name = arguments["node-name"]
        if name not in self.nodes:
            raise Refused(f"Failed to find node with node-name='{name}'")
        users = self.users(name)
        if users:
            raise Refused(f"Node {name} is in use by {', '.join(users)}")
        self.delete_node(name)
        self.drop_fdsets()
        return {}

    def delete_node(self, name):
        for inner in self.nodes.pop(name).get("own", ()):
            self.delete_node(inner)

    def do_qom_set(self, arguments, _fds):
        path, node = arguments["path"], arguments["value"]
        if path not in self.devices:
            raise Refused(f"Device '{path}' not found", "DeviceNotFound")
        self.node(node)
        if self.devices[path] == node:
            self.wrong.append(f"a switch of {path} to {node}, where it is: QEMU 7.2 aborts")
        self.devices[path] = node
        return {}

    def do_block_set_write_threshold(self, arguments, _fds):
        self.node(arguments["node-name"])
        return {}

    # ---- the NBD server; its connections are qemu.py's

    def do_nbd_server_start(self, arguments, _fds):
        if self.server is not None:
            raise Refused("NBD server already running")
        name = arguments["addr"]["data"]["str"]
        if name not in self.fds:
            raise Refused(f"File descriptor named '{name}' not found")
        self.server = self.fds.pop(name)
        return {}

    def do_nbd_server_stop(self, _arguments, _fds):
        if self.server is None:
            raise Refused("NBD server not running")
        if self.server >= 0:
            os.close(self.server)
        self.server = None
        for name in list(self.exports):
            del self.exports[name]
        return {}

    def do_block_export_add(self, arguments, _fds):
        if self.server is None:
            raise Refused("NBD server not running")
        if arguments["id"] in self.exports:
            raise Refused(f"Block export id '{arguments['id']}' is already in use")
        self.node(arguments["node-name"])
        self.exports[arguments["id"]] = {"node": arguments["node-name"],
                                         "name": arguments["name"]}
        return {}

    def do_block_export_del(self, arguments, _fds):
        if arguments["id"] not in self.exports:
            raise Refused(f"Export '{arguments['id']}' is not found")
        del self.exports[arguments["id"]]
        self.emit("BLOCK_EXPORT_DELETED", {"id": arguments["id"]})
        return {}

    def do_query_block_exports(self, _arguments, _fds):
        return [{"id": name, "type": "nbd", "node-name": data["node"], "shutting-down": False}
                for name, data in self.exports.items()]

    def do_quit(self, _arguments, _fds):
        self.ended = True
        return {}


def schema():
    """As much of query-qmp-schema as is asked for."""
    members = lambda *names: [{"name": name, "type": "str"} for name in names]
    plain = ("block-export-del", "blockdev-mirror", "add-fd", "getfd")
    return [
        *({"name": name, "meta-type": "command", "arg-type": "0", "ret-type": "0"}
          for name in plain),
        {"name": "blockdev-add", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
        {"name": "1", "meta-type": "object", "members": members("node-name"), "tag": "driver",
         "variants": [{"case": "copy-before-write", "type": "2"},
                      {"case": "snapshot-access", "type": "3"}]},
        {"name": "2", "meta-type": "object", "members": members("on-cbw-error", "cbw-timeout")},
        {"name": "3", "meta-type": "object", "members": []},
        {"name": "block-export-add", "meta-type": "command", "arg-type": "4", "ret-type": "0"},
        {"name": "4", "meta-type": "object", "members": members("id"), "tag": "type",
         "variants": [{"case": "nbd", "type": "3"}]},
        {"name": "nbd-server-start", "meta-type": "command", "arg-type": "5", "ret-type": "0"},
        {"name": "5", "meta-type": "object", "members": members("max-connections")},
        {"name": "blockdev-backup", "meta-type": "command", "arg-type": "6", "ret-type": "0"},
        {"name": "6", "meta-type": "object", "members": members("x-perf")},
    ]
