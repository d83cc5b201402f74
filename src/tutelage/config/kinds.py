"""The types of keys that are mappings with keys of their own: terms, schemes, networks, additional students."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Required, get_type_hints

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from tutelage.utils.key_types import EntryTypes, Name, NameOrPath
from tutelage.utils.stream_names import STREAMS

Spec = dict[str, Any]
Layers = str | list[str]
Term = Annotated[Spec, EntryTypes({"name": str, "student": Layers, "teacher": Layers, "connector": str})]
Method = str | Term | list[str | Term] | None
Scheme = str | Annotated[Spec, EntryTypes({"name": str})]
TaskSpec = str | Annotated[Spec, EntryTypes({"name": str})]
Network = Annotated[Spec, EntryTypes({"model": str, "weights": str, "device": str, "scheme": str})]
"""A network with options of its own: {model: …, weights: …}."""
NetworkList = Annotated[list[NameOrPath | Network], Field(max_length=64)]
TeacherSpec = NameOrPath | Annotated[Spec, EntryTypes({"name": str, "model": str})] | NetworkList
"""A network's name, a teacher of the catalogue with its options, or several networks."""


@with_config(ConfigDict(extra="forbid", strict=True))
class ExtraStudent(TypedDict, total=False):
    """The settings of an additional student."""

    name: Name
    student: NameOrPath
    method: Method
    seed: Annotated[int, Field(ge=0, le=2**31)]


@with_config(ConfigDict(extra="forbid", strict=True))
class StreamSpec(TypedDict, total=False):
    """A further stream of training data: its data, and its part of each batch."""

    source: Required[NameOrPath]
    share: Annotated[float, Field(gt=0, lt=1)]


StreamSpecs = dict[Literal["unlabelled", "target"], StreamSpec]

STREAM_ENTRY = str | Annotated[Spec, EntryTypes({"source": str})]
DataName = Annotated[NameOrPath, EntryTypes(dict.fromkeys(STREAMS, STREAM_ENTRY))]
"""The name of data; as a mapping, one for each stream."""

EXTRA_STUDENT_KEYS: Mapping[str, Any] = get_type_hints(ExtraStudent, include_extras=True)
