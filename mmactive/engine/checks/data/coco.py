# Copyright (c) mmactive contributors. All rights reserved.
"""Checks of annotation files in COCO's format.

Their content is checked as columns: what one field says of all annotations.
Only where a column is not as expected, its items are looked at one by one.
"""

import reprlib
import struct
from itertools import chain, compress, repeat
from operator import contains, itemgetter
from typing import Any, Callable, Hashable, List, Optional, Sequence, Tuple

import numpy as np

SINGULAR = dict(
    images='image', annotations='annotation', categories='category'
)


class CocoFile:
    """The content of an annotation file, checked.

    Args:
        content (dict): What the file holds.
        path (str): Its name, for messages.

    Attributes:
        image_ids (list): Ids of the N images.
        sizes (np.ndarray): Widths and heights of images, of shape (N, 2).
        category_ids (list): Ids of the categories.
        category_names (list): Their names.
        ids (list): Ids of the M annotations.
        image_rows (np.ndarray): Which image each belongs to, of shape (M, ).
        category_rows (np.ndarray): Of which category it is, of shape (M, ).
        boxes (np.ndarray): x, y, width and height, of shape (M, 4).
        areas (np.ndarray): Areas, of shape (M, ).
        crowds (np.ndarray): Which are crowds, of shape (M, ).
        ignored (np.ndarray): Which are to be ignored, of shape (M, ).

    Raises:
        ValueError: If something is missing, of another type, twice there,
            refers to what is not there, or has values that no image has. The
            error names the file, the id, the field and the value.
    """

    def __init__(self, content: dict, path: str) -> None:
        self.path = path
        self.content = content
        for section in SINGULAR:
            value = content.get(section)
            # Images to be tested on may come without annotations.
            if value is None and section == 'annotations':
                value = []
            if not isinstance(value, list):
                raise ValueError(
                    f'{path}: {section} '
                    + ('is missing' if value is None else f'is {short(value)}')
                    + ', expected a list'
                )
        self._read_images(content['images'])
        self.category_ids = self._read_ids('categories')
        self.category_names = self._column('categories', 'name')
        self.annotations = content.get('annotations') or []
        self._read_annotations()

    def _read_images(self, images: List[dict]) -> None:
        self.image_ids = self._read_ids('images')
        names = self._column('images', 'file_name')
        if set(map(type, names)) - {str} or '' in names:
            self._require(
                'images',
                'file_name',
                names,
                lambda name: isinstance(name, str) and name != '',
                'the name of a file',
            )
        self.repeated_files = len(names) - len(set(names))
        sizes = []
        for field in ('width', 'height'):
            values = self._column('images', field)
            size = pack_column(values)
            if not ((size >= 1) & (size < np.inf)).all():
                self._require(
                    'images',
                    field,
                    values,
                    lambda value: is_number(value) and value >= 1,
                    'a number of pixels',
                )
            sizes.append(size)
        self.sizes = np.stack(sizes, axis=1)

    def _read_annotations(self) -> None:
        section = 'annotations'
        self.ids = self._read_ids(section)
        self.image_rows = self._refer('image_id', self.image_ids, 'image')
        self.category_rows = self._refer(
            'category_id', self.category_ids, 'category'
        )
        boxes = self._column(section, 'bbox')
        try:
            lengths, values = pack(boxes)
        except (TypeError, struct.error, OverflowError):
            lengths = values = np.zeros(1)
        if (lengths != 4).any() or not np.isfinite(values).all():
            expected = 'four finite numbers x, y, width, height'
            self._require(section, 'bbox', boxes, is_box, expected)
        self.boxes = values.reshape(-1, 4)

        areas = self._column(section, 'area')
        self.areas = pack_column(areas)
        if not (np.isfinite(self.areas) & (self.areas >= 0)).all():
            self._require(
                section,
                'area',
                areas,
                lambda value: is_number(value) and value >= 0,
                'a finite number of pixels',
            )

        items = self.annotations
        self.crowd_is_missing: Optional[int] = None
        try:
            crowds = list(map(itemgetter('iscrowd'), items))
        except KeyError:
            has_crowd = list(map(contains, items, repeat('iscrowd')))
            self.crowd_is_missing = has_crowd.index(False)
            crowds = [item.get('iscrowd', 0) for item in items]
        try:
            is_flag = set(crowds) <= {0, 1}
        except TypeError:
            is_flag = False
        if not is_flag:
            self._require(
                section,
                'iscrowd',
                crowds,
                lambda value: (
                    isinstance(value, (int, float)) and value in (0, 1)
                ),
                '0 or 1',
            )
        self.crowds = np.array(crowds, dtype=bool)
        self.ignored = np.zeros(len(items), dtype=bool)
        if any(map(contains, items, repeat('ignore'))):
            self.ignored[:] = [bool(item.get('ignore')) for item in items]
        self._check_boxes()

    def _check_boxes(self) -> None:
        if len(self.boxes) == 0:
            return
        sizes = self.sizes[self.image_rows]
        corner, extent = self.boxes[:, :2], self.boxes[:, 2:]
        end = corner + extent
        ordered = (extent > corner).all(1) & (extent <= sizes + 1).all(1)
        if len(self.boxes) > 3 and ordered.all():
            beyond = (end > sizes + 1).any()
            own = (extent - corner).prod(1)
            alike = np.isclose(self.areas, own, rtol=0.01, atol=1)
            other = np.isclose(self.areas, extent.prod(1), rtol=0.01, atol=1)
            if beyond or (alike.all() and not other.any()):
                self._raise(
                    0,
                    'bbox',
                    self.boxes[0].tolist(),
                    'x, y, width, height, but those of all annotations look '
                    'like two corners',
                )
        self._refuse(
            (extent < 0).any(1), 'bbox', 'a width and height of 0 or more'
        )
        far = (corner < -sizes).any(1) | (end > 2 * sizes).any(1)
        self._refuse(
            far,
            'bbox',
            'a box in its image, but it lies outside by more than the '
            "image's size, {} x {} pixels",
        )

    # What a dataset makes of it

    def select(self, category_ids: Sequence[Hashable]) -> np.ndarray:
        """Returns which annotations are of these categories."""
        wanted = set(category_ids)
        chosen = np.array([i in wanted for i in self.category_ids], dtype=bool)
        if len(self.ids) == 0:
            return np.zeros(0, dtype=bool)
        return chosen[self.category_rows]

    def find_skipped(self) -> dict:
        """Finds what mmdet skips by design, each annotation once.

        Returns:
            dict[str, np.ndarray]: By reason, which annotations.
        """
        corner, extent = self.boxes[:, :2], self.boxes[:, 2:]
        sizes = self.sizes[self.image_rows].reshape(-1, 2)
        inside = np.minimum(corner + extent, sizes) - np.maximum(corner, 0)
        reasons = {
            'to be ignored': self.ignored,
            'smaller than a pixel': (extent < 1).any(1),
            'outside of their images': (inside <= 0).any(1),
            'without area': self.areas == 0,
        }
        left = np.ones(len(self.ids), dtype=bool)
        for name, skipped in reasons.items():
            reasons[name] = skipped & left
            left &= ~skipped
        return reasons

    def _have_boxes(self, rows: Sequence[int]) -> np.ndarray:
        """Tells which annotations have a box that mmdet does not skip."""
        corner, extent = self.boxes[rows, :2], self.boxes[rows, 2:]
        inside = (corner < self.sizes[self.image_rows[rows]]).all(1)
        return inside & (corner + extent > 0).all(1) & (extent >= 1).all(1)

    def check_masks(self, chosen: np.ndarray) -> None:
        """Checks the masks of annotations.

        Args:
            chosen (np.ndarray): Which annotations, of shape (M, ).

        Raises:
            ValueError: If one has no mask, or none that is of its image's size
                and has an extent in it.
        """
        field = 'segmentation'
        rows = np.flatnonzero(chosen)
        items = list(compress(self.annotations, chosen.tolist()))
        try:
            masks = list(map(itemgetter(field), items))
        except KeyError:
            masks = [item.get(field) for item in items]
        is_list = [kind is list for kind in map(type, masks)]
        self._check_polygons(list(compress(masks, is_list)), rows[is_list])
        if all(is_list):
            return
        others = ~np.array(is_list)
        rows, masks = rows[others], list(compress(masks, others.tolist()))
        for row, mask in zip(rows.tolist(), masks):
            if not isinstance(mask, dict):
                if field not in self.annotations[row]:
                    raise ValueError(
                        f'{self._name(row)}: {field} is missing, but its '
                        'mask is asked for'
                    )
                self._raise(row, field, mask, 'polygons or run lengths')
        self._check_run_lengths(masks, rows)

    def _check_polygons(self, polygons: List[list], rows: np.ndarray) -> None:
        field = 'segmentation'
        if len(polygons) == 0:
            return
        try:
            low, high, flat = measure_polygons(polygons)
        except (TypeError, ValueError, struct.error, OverflowError):
            for row, polygon in zip(rows.tolist(), polygons):
                if not polygon or not all(map(is_polygon, polygon)):
                    self._raise(
                        row,
                        field,
                        polygon,
                        'polygons, each a list of at least three points x, y, '
                        'all of finite numbers',
                    )
            raise
        sizes = self.sizes[self.image_rows[rows]]
        far = (low < -sizes).any(1) | (high > 2 * sizes).any(1)
        outside = (high <= 0).any(1) | (low >= sizes).any(1)
        corner, extent = self.boxes[rows, :2], self.boxes[rows, 2:]
        apart = (high < corner - 1) | (low > corner + extent + 1)
        has_box = self._have_boxes(rows)
        for where in np.flatnonzero(flat & has_box):
            flat[where] = all(map(is_line, polygons[where]))
        for wrong, expected in (
            (
                far,
                'points in its image, but there are some outside by more than '
                "the image's size, {} x {} pixels",
            ),
            (outside & has_box, 'points in its image of {} x {} pixels'),
            (flat & has_box, 'points that are not all on one line'),
            (apart.any(1) & has_box, 'points in its bbox'),
        ):
            if wrong.any():
                where = int(np.argmax(wrong))
                self._raise(
                    int(rows[where]),
                    field,
                    polygons[where],
                    expected.format(*sizes[where].astype(int)),
                )

    def _check_run_lengths(self, masks: List[dict], rows: np.ndarray) -> None:
        field = 'segmentation'
        codes, places = [], []
        for row, mask in zip(rows.tolist(), masks):
            width, height = self.sizes[self.image_rows[row]]
            size, counts = mask.get('size'), mask.get('counts')
            if size != [height, width]:
                self._raise(
                    row,
                    f'{field}.size',
                    size,
                    "its image's height and width, "
                    f'[{height:.0f}, {width:.0f}]',
                )
            if isinstance(counts, str) and counts:
                codes.append(counts)
                places.append(row)
            elif not isinstance(counts, list) or not all(map(is_run, counts)):
                self._raise(
                    row,
                    f'{field}.counts',
                    counts,
                    'a list of numbers of pixels, or a string of them',
                )
            else:
                self._check_pixels(row, sum(counts), sum(counts[1::2]))
        for row, total, area in zip(places, *count_pixels(codes)):
            self._check_pixels(row, total, area)

    def _check_pixels(self, row: int, total: int, area: int) -> None:
        width, height = self.sizes[self.image_rows[row]]
        counts = self.annotations[row]['segmentation']['counts']
        if total == width * height:
            if area == 0 and self._have_boxes([row])[0]:
                expected = 'some pixels of the object, but there are none'
                self._raise(row, 'segmentation.counts', counts, expected)
            return
        what = (
            f'{total:.0f} pixels'
            if total >= 0
            else 'what is no code of run lengths'
        )
        self._raise(
            row,
            'segmentation.counts',
            counts,
            f'the {width * height:.0f} pixels of its image, but it is {what}',
        )

    # Columns, and errors that name an item

    def _column(self, section: str, field: str) -> list:
        items = self.content.get(section) or []
        try:
            return list(map(itemgetter(field), items))
        except (KeyError, TypeError, IndexError):
            pass
        for row, item in enumerate(items):
            if not isinstance(item, dict):
                raise ValueError(
                    f'{self.path}: {section}[{row}] is {short(item)}, '
                    'expected an object'
                )
            if field not in item:
                raise ValueError(
                    f'{self._name(row, section)}: {field} is missing'
                )
        raise AssertionError(field)

    def _read_ids(self, section: str) -> list:
        ids = self._column(section, 'id')
        kinds = set(map(type, ids))
        if not kinds <= {int} and not kinds <= {str}:
            self._require(
                section,
                'id',
                ids,
                lambda value: isinstance(value, str) or is_number(value),
                'a number or a string',
            )
            if str in kinds:
                raise ValueError(
                    f'{self.path}: {section}: id is a string in some and a '
                    'number in others, such as '
                    + ' and '.join(
                        short(next(i for i in ids if type(i) is kind))
                        for kind in (str, *(kinds - {str}))
                    )
                )
        if len(set(ids)) < len(ids):
            seen = set()
            for row, value in enumerate(ids):
                if value in seen:
                    raise ValueError(
                        f'{self.path}: {section}[{row}]: id is '
                        f'{short(value)}, but another {SINGULAR[section]} has '
                        'it, too'
                    )
                seen.add(value)
        return ids

    def _refer(self, field: str, ids: list, kind: str) -> np.ndarray:
        values = self._column('annotations', field)
        index = dict(zip(ids, range(len(ids))))
        try:
            rows = np.fromiter(
                map(index.get, values, repeat(-1)), np.int64, len(values)
            )
        except TypeError:
            self._require(
                'annotations',
                field,
                values,
                lambda value: isinstance(value, (str, int, float)),
                'a number or a string',
            )
        missing = rows < 0
        if missing.any():
            row = int(np.argmax(missing))
            known = ', '.join(map(repr, ids[:5])) + ' ...' * (len(ids) > 5)
            raise ValueError(
                f'{self._name(row)}: {field} is {short(values[row])}, but '
                f'there is no such {kind}; ids there are: {known or "none"}'
                + self._count(missing)
            )
        return rows

    def _require(
        self,
        section: str,
        field: str,
        values: list,
        test: Callable[[Any], bool],
        expected: str,
    ) -> None:
        for row, value in enumerate(values):
            if not test(value):
                self._raise(row, field, value, expected, section)

    def _refuse(self, wrong: np.ndarray, field: str, expected: str) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            size = self.sizes[self.image_rows[row]].astype(int)
            self._raise(
                row,
                field,
                self.annotations[row][field],
                expected.format(*size) + self._count(wrong),
            )

    @staticmethod
    def _count(wrong: np.ndarray) -> str:
        count = int(wrong.sum())
        return f' ({count} annotations are so)' if count > 1 else ''

    def _name(self, row: int, section: str = 'annotations') -> str:
        item = self.content[section][row]
        if 'id' in item:
            return f'{self.path}: {SINGULAR[section]} {short(item["id"])}'
        return f'{self.path}: {section}[{row}]'

    def _raise(
        self,
        row: int,
        field: str,
        value: Any,
        expected: str,
        section: str = 'annotations',
    ) -> None:
        raise ValueError(
            f'{self._name(row, section)}: {field} is {short(value)}, expected '
            f'{expected}'
        )


def pack(lists: Sequence[Sequence[float]]) -> tuple:
    """Joins lists of numbers.

    Args:
        lists (list[list[int | float]]): The lists.

    Returns:
        tuple[np.ndarray, np.ndarray]: Their lengths, and all their numbers.

    Raises:
        TypeError: If there is something that is no list.
        struct.error: If there is something in a list that is no number.
    """
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    values = np.empty(int(lengths.sum()))
    start = 0
    # Faster than NumPy's conversion, and stricter: no strings, no None. In
    # pieces that stay in the cache.
    for i in range(0, len(lists), 256):
        piece = list(chain.from_iterable(lists[i : i + 256]))
        struct.pack_into(f'{len(piece)}d', values, 8 * start, *piece)
        start += len(piece)
    return lengths, values


def measure_polygons(
    polygons: Sequence[Sequence[Sequence[float]]],
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measures the polygons of annotations.

    Args:
        polygons (list[list[list[int | float]]]): Of M annotations, the
            polygons: x and y of one point after the other.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: The least and the greatest x
        and y, each of shape (M, 2), and whether three points of each polygon
        are on one line, of shape (M, ).

    Raises:
        TypeError: If there is something that is no list.
        struct.error: If there is something in a list that is no number.
        ValueError: If an annotation has no polygons, or one has fewer than
            three points, half a point, or a number that is not finite.
    """
    low = np.empty((len(polygons), 2))
    high = np.empty((len(polygons), 2))
    flat = np.empty(len(polygons), dtype=bool)
    # In pieces that stay in the cache
    for begin in range(0, len(polygons), 256):
        some = polygons[begin : begin + 256]
        here = slice(begin, begin + len(some))
        counts = np.fromiter(map(len, some), np.int64, len(some))
        lengths, values = pack(list(chain.from_iterable(some)))
        if (
            (counts == 0).any()
            or ((lengths < 6) | (lengths % 2 == 1)).any()
            or not np.isfinite(values).all()
        ):
            raise ValueError('not all polygons are polygons')
        points = values.reshape(-1, 2)
        # Of the first point of each part, and first part of each annotation
        starts = (np.cumsum(lengths) - lengths) // 2
        firsts = np.cumsum(counts) - counts
        for axis in range(2):
            for function, extent in ((np.minimum, low), (np.maximum, high)):
                extent[here, axis] = function.reduceat(
                    function.reduceat(points[:, axis], starts), firsts
                )
        first, second, third = (
            points[starts + i * (lengths // 2) // 3] for i in range(3)
        )
        (ax, ay), (bx, by) = (second - first).T, (third - first).T
        on_line = np.abs(ax * by - ay * bx) < 1e-6
        flat[here] = np.logical_and.reduceat(on_line, firsts)
    return low, high, flat


def pack_column(values: Sequence[float]) -> np.ndarray:
    """Returns numbers as an array, of NaN if there is one that is none."""
    try:
        return pack([values])[1]
    except (struct.error, OverflowError):
        return np.full(len(values), np.nan)


def is_line(polygon: List[float]) -> bool:
    """Whether all points of a polygon are on one line."""
    points = np.reshape(polygon, (-1, 2)).astype(float)
    return bool(np.linalg.matrix_rank(points - points[0], tol=1e-6) < 2)


def count_pixels(codes: List[str]) -> Tuple[np.ndarray, np.ndarray]:
    """Counts the pixels of run lengths, as COCO compresses them.

    The lengths are numbers of digits to the base 32, lowest first, and from
    the fourth on differences to the last but one; see ``rleToString`` of
    https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.

    Args:
        codes (list[str]): The strings.

    Returns:
        tuple[np.ndarray, np.ndarray]: Their numbers of pixels, -1 where a
        string is no code, and of those of the object.
    """
    if len(codes) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    joined = ''.join(codes).encode('utf-32-le', 'surrogatepass')
    digits = np.frombuffer(joined, '<u4').astype(np.int64) - 48
    ends = np.cumsum([len(code) for code in codes])
    starts = np.concatenate([[0], ends[:-1]])
    wrong = np.logical_or.reduceat((digits < 0) | (digits > 63), starts)
    last = digits < 32  # of a number
    wrong |= ~last[ends - 1]
    last[ends - 1] = True
    stops = np.flatnonzero(last)
    first = np.concatenate([[0], stops[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(first, stops - first + 1)
    wrong |= np.logical_or.reduceat(place > 6, starts)
    place = np.minimum(place, 6)
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= (digits[stops] >> 4 & 1) << (5 * (place[stops] + 1))
    # The i-th of m numbers counts in all of the i-th, i+2-nd ... lengths, but
    # the first in its own alone.
    owner = np.searchsorted(ends, stops, side='right')
    numbers = np.bincount(owner, minlength=len(codes))
    begin = np.concatenate([[0], np.cumsum(numbers[:-1])])
    rank = np.arange(len(stops)) - begin[owner]
    weight = np.where(rank == 0, 1, (numbers[owner] - 1 - rank) // 2 + 1)
    pixels = values * weight
    totals = np.add.reduceat(pixels, begin)
    # Every second length is of the object, and differs from such alone.
    areas = np.add.reduceat(pixels * (rank % 2), begin)
    return np.where(wrong, -1, totals), areas


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and -1e300 < value < 1e300
    )


def is_box(value: Any) -> bool:
    """Whether a value consists of four finite numbers."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(map(is_number, value))
    )


def is_polygon(value: Any) -> bool:
    """Whether a value is a list of at least three points."""
    return (
        isinstance(value, list)
        and len(value) >= 6
        and len(value) % 2 == 0
        and all(map(is_number, value))
    )


def is_run(value: Any) -> bool:
    """Whether a value is a number of pixels."""
    return is_number(value) and value >= 0 and value == int(value)


def short(value: Any) -> str:
    """Returns a value as text, of large ones the beginning."""
    return reprlib.repr(value)
