"""The file of a policy: one ONNX graph with its contract in the metadata, and proof of belonging.

The bytes are read here, not by the `onnx` package, so that a robot needs onnxruntime alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped]

from tutelage.sim2real.contract import Contract
from tutelage.sim2real.contract_json import DIGEST, KEY, digest, from_json, metadata


class PolicyError(ValueError):
    """A policy file that must not be run, with the reason."""


def open_policy(path: Path) -> tuple[Contract, Any]:
    """Contract and session of a file, after everything was checked that needs no running."""
    data = path.read_bytes()
    try:
        entries, graph = read_metadata(data)
    except UnicodeDecodeError as error:
        raise PolicyError(f"its metadata is damaged: {error}") from error
    if KEY not in entries:
        raise PolicyError(f"carries no contract (metadata key '{KEY}'); keys: {sorted(entries)}")
    if digest(entries[KEY]) != entries.get(DIGEST):
        raise PolicyError(f"its contract was changed after export ('{DIGEST}' does not match)")
    contract = from_json(entries[KEY])
    if contract.graph_sha256 != graph:
        raise PolicyError(
            f"its contract was made for another graph: graph_sha256 is {contract.graph_sha256} "
            f"in the contract and {graph} in the file; contract and graph come from two exports"
        )
    for key, text in metadata(contract).items():
        if key not in (KEY, DIGEST) and entries.get(key) != text:
            raise PolicyError(f"metadata key '{key}' is missing or contradicts the contract")
    if contract.cameras:
        names = [camera.name for camera in contract.cameras]
        raise PolicyError(f"needs images {names}; this version of the runtime has no cameras")
    session = open_session(data)
    _check_graph(contract, session)
    return contract, session


def _check_graph(contract: Contract, session: Any) -> None:
    """Names and shapes of the graph's inputs and outputs are the contract's."""
    wanted_in: dict[str, tuple[int, ...]] = {"obs": (1, contract.observation_size)}
    wanted_in |= {state.input: state.shape for state in contract.recurrent}
    wanted_out: dict[str, tuple[int, ...]] = {"actions": (1, len(contract.joints))}
    wanted_out |= {state.output: state.shape for state in contract.recurrent}
    for what, wanted, nodes in (
        ("inputs", wanted_in, session.get_inputs()),
        ("outputs", wanted_out, session.get_outputs()),
    ):
        found = {node.name: tuple(node.shape) for node in nodes}
        if found != wanted or any(node.type != "tensor(float)" for node in nodes):
            raise PolicyError(f"the graph's {what} are {found}, the contract's are {wanted}")


def read_metadata(data: bytes) -> tuple[dict[str, str], str]:
    """Metadata of an ONNX file, and the sha256 of all the rest of it.

    The file is a protobuf message; its field 14 holds the metadata, one key and value (fields 1
    and 2) each (ModelProto and StringStringEntryProto in onnx.proto).
    """
    entries, rest = {}, sha256()
    for field, payload, record in _records(data):
        if field == 14:
            entry = {key: text for key, text, _ in _records(payload)}
            entries[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
        else:
            rest.update(record)
    return entries, rest.hexdigest()


def _records(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Field number, payload and whole record of each field of a protobuf message."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        first = at
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                size, first = _varint(data, at)
                at = first + size
            case 5:
                at += 4
            case wire:
                raise PolicyError(f"not an ONNX file, or a damaged one (wire type {wire})")
        if at > len(data):
            raise PolicyError("the file is cut short")
        yield tag >> 3, data[first:at], data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in base 128, least significant digit first, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    raise PolicyError("not an ONNX file, or a damaged one")


def open_session(data: bytes) -> Any:
    """An onnxruntime session on one thread: no pool is faster for networks of this size."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common class of their own
        raise PolicyError(f"onnxruntime cannot load it: {error}") from error
