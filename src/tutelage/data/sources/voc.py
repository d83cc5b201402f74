"""Images with boxes in Pascal VOC's XML format."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tutelage.data.annotated_images import AnnotatedImage, refuse_faults, refuse_missing_files
from tutelage.data.decode import ImageFile
from tutelage.data.listing import to_path
from tutelage.data.object_split import object_data
from tutelage.data.preparation import SourceData
from tutelage.errors import DataError, plain

NAMES = {
    "voc:FOLDER": "images with boxes: JPEGImages/ and Annotations/*.xml, with ImageSets/Main/train.txt, val.txt and "
    "test.txt if there are splits; objects marked difficult are ignored in the figures, as crowds are"
}


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir() and (path / "Annotations").is_dir()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the images; the classes are the names of objects, in alphabetical order."""
    root = to_path(where)
    if not (root / "Annotations").is_dir():
        raise DataError(f"{plain(root)}: has no folder Annotations: expected Annotations/*.xml and JPEGImages/.")
    parsed = {split: [_parse(root, name) for name in names] for split, names in _names(root).items()}
    refuse_missing_files(root, [image.path for images in parsed.values() for image, _ in images])
    classes = sorted({name for images in parsed.values() for _, tree in images for name in _object_names(tree)})
    if not classes:
        raise DataError(f"{plain(root)}: no annotation has an object: expected <object> with <name> and <bndbox>.")
    splits = {}
    for split, images in parsed.items():
        for image, tree in images:
            _add_objects(root / "Annotations" / f"{image.path.stem}.xml", image, tree, classes)
        splits[split] = [image for image, _ in images]
    return object_data(splits, classes, size)


def _names(root: Path) -> dict[str, list[str]]:
    """Return the names of each split's images; all are of train if there are no splits."""
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in ("train", "val", "test")}
    names = {
        split: [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
        for split, file in lists.items()
        if file.is_file()
    }
    if names and "train" not in names:
        raise DataError(f"{plain(root / 'ImageSets' / 'Main')}: has {', '.join(names)} but no train.txt.")
    names = names or {"train": sorted(file.stem for file in (root / "Annotations").glob("*.xml"))}
    if not names["train"]:
        raise DataError(f"{plain(root / 'Annotations')}: has no .xml file: provide some.")
    return names


def _parse(root: Path, name: str) -> tuple[AnnotatedImage, ElementTree.Element]:
    """Return an image without its objects, and its annotation.

    Raises: DataError that names the file.
    """
    file = root / "Annotations" / f"{name}.xml"
    try:
        text = file.read_text()
        if "<!ENTITY" in text:
            raise ValueError("it defines entities, which could expand without end")
        tree = ElementTree.fromstring(text)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{plain(file)}: can't be read ({plain(error)}): expected Pascal VOC's XML.") from error
    declared = tree.findtext("filename") or f"{name}.jpg"
    candidates = [root / "JPEGImages" / Path(declared).name, *sorted((root / "JPEGImages").glob(f"{name}.*"))]
    path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    if not path.is_file():
        return AnnotatedImage(path, 0, 0), tree
    picture = ImageFile(path)
    sides = tuple(tree.findtext(f"size/{side}") for side in ("height", "width"))
    if all(sides) and sides not in ((str(picture.height), str(picture.width)), ("0", "0")):
        raise DataError(
            f"{plain(file)}: is for an image of {sides[1]} × {sides[0]} pixels, and {plain(path)} is {picture.width} × "
            f"{picture.height}: annotate the image as it is, or resize it back."
        )
    return AnnotatedImage(path, picture.height, picture.width), tree


def _object_names(tree: ElementTree.Element) -> list[str]:
    return [name.strip() for each in tree.findall("object") if (name := each.findtext("name"))]


def _add_objects(file: Path, image: AnnotatedImage, tree: ElementTree.Element, classes: list[str]) -> None:
    """Add the objects; VOC counts pixels from 1.

    Raises: DataError that lists the faults by object.
    """
    faults = []
    for number, each in enumerate(tree.findall("object"), 1):
        texts = [each.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        name = each.findtext("name")
        try:
            x1, y1, x2, y2 = (float(text or "") for text in texts)
        except ValueError:
            faults.append(f"object {number} has the box {texts}: expected numbers xmin, ymin, xmax and ymax")
            continue
        if not name:
            faults.append(f"object {number} has no name")
            continue
        difficult = (each.findtext("difficult") or "0").strip() == "1"
        fault = image.add((x1 - 1, y1 - 1, x2, y2), classes.index(name.strip()), difficult)
        faults += [f"object {number} {fault}"] if fault else []
    refuse_faults(file, faults)
