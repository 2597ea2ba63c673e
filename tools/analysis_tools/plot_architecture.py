# Copyright (c) mmactive contributors. All rights reserved.
"""Draws ActiveMLP: its stages, a block, and where a token looks.

Numbers are those of the code. The file is SVG and the same at every run.
"""

import argparse
import math
from pathlib import Path
from typing import List, Tuple

from mmactive.models import ActiveMLP
from mmactive.utils.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1080, 640)
INK, LINE, PALE = '#1f2430', '#5b6472', '#f3f5f8'
STAGE, MIXER, LAYER = '#d9e8f6', '#fbe3d6', '#e6efe0'
GROUPS = ('#c0392b', '#2471a3', '#1e8449', '#b9770e')  # of channels


class Drawing:
    """Elements of an SVG picture, in pixels from the upper left corner."""

    def __init__(self) -> None:
        self.elements: List[str] = []

    def add(self, name: str, content: str = '', **attributes) -> None:
        """Adds an element."""
        words = [
            f'{key.replace("_", "-")}="{value:g}"'
            if isinstance(value, (int, float))
            else f'{key.replace("_", "-")}="{value}"'
            for key, value in attributes.items()
        ]
        self.elements.append(f'<{" ".join([name, *words])}>{content}</{name}>')

    def text(
        self, x: float, y: float, content: str, size: int = 13, **attributes
    ) -> None:
        """Writes a line, centred at (x, y) by default."""
        settings = dict(text_anchor='middle', fill=INK)
        self.add(
            'text',
            content,
            x=x,
            y=y + size * 0.35,
            font_size=size,
            **{**settings, **attributes},
        )

    def box(
        self,
        center: Tuple[float, float],
        size: Tuple[float, float],
        lines: List[str],
        fill: str,
    ) -> None:
        """Draws a box with lines of text; the first one is bold."""
        (x, y), (width, height) = center, size
        self.add(
            'rect',
            x=x - width / 2,
            y=y - height / 2,
            width=width,
            height=height,
            rx=6,
            fill=fill,
            stroke=LINE,
        )
        for i, line in enumerate(lines):
            self.text(
                x,
                y + 17 * (i - (len(lines) - 1) / 2),
                line,
                size=13 if i == 0 else 12,
                font_weight='bold' if i == 0 else 'normal',
            )

    def arrow(self, *points: Tuple[float, float], color: str = LINE) -> None:
        """Draws a line through points, with a head at the last one."""
        path = ' '.join(f'{x:g},{y:g}' for x, y in points)
        self.add(
            'polyline',
            points=path,
            fill='none',
            stroke=color,
            stroke_width=1.5,
        )
        (x0, y0), (x1, y1) = points[-2:]
        angle = math.atan2(y1 - y0, x1 - x0)
        corners = [(x1, y1)] + [
            (x1 - 9 * math.cos(angle + turn), y1 - 9 * math.sin(angle + turn))
            for turn in (-0.4, 0.4)
        ]
        path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in corners)
        self.add('polygon', points=path, fill=color)

    def plus(self, x: float, y: float) -> None:
        """Draws the sign of a sum."""
        self.add('circle', cx=x, cy=y, r=10, fill='white', stroke=LINE)
        self.text(x, y, '+', size=16)

    def __str__(self) -> str:
        width, height = SIZE
        return '\n'.join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
                f'height="{height}" viewBox="0 0 {width} {height}" '
                'font-family="Helvetica, Arial, sans-serif">',
                f'<rect width="{width}" height="{height}" fill="white"/>',
                *self.elements,
                '</svg>\n',
            ]
        )


def draw_stages(picture: Drawing, arch: dict) -> None:
    """Draws the stages from left to right, with an output below each."""
    y, width = 96, 132
    picture.text(
        20,
        28,
        'ActiveMLP-Tiny: four stages',
        size=16,
        text_anchor='start',
        font_weight='bold',
    )
    picture.box((62, y), (84, 62), ['image', 'H x W x 3'], PALE)
    x = 62 + 42
    for i, (depth, dims) in enumerate(zip(arch['depths'], arch['dims'])):
        layer = (
            ['7x7 conv', 'stride 4'] if i == 0 else ['3x3 conv', 'stride 2']
        )
        picture.arrow((x, y), (x + 14, y))
        picture.box((x + 49, y), (70, 50), layer, LAYER)
        picture.arrow((x + 84, y), (x + 98, y))
        stride = 4 * 2**i
        lines = [f'stage {i + 1}', f'{depth} blocks', f'{dims} channels']
        picture.box((x + 98 + width / 2, y), (width, 76), lines, STAGE)
        middle = x + 98 + width / 2
        picture.arrow((middle, y + 38), (middle, y + 62))
        picture.box(
            (middle, y + 82),
            (width, 40),
            ['norm, output', f'{dims} x H/{stride} x W/{stride}'],
            PALE,
        )
        x += 98 + width


def draw_block(picture: Drawing, arch: dict) -> None:
    """Draws a block, which predicts offsets, from the top down."""
    left, x = 20, 170
    picture.text(
        left,
        248,
        'A block',
        size=16,
        text_anchor='start',
        font_weight='bold',
    )
    steps = [
        (300, ['norm'], PALE),
        (348, ['active token mixer'], MIXER),
        (448, ['norm'], PALE),
        (496, ['MLP'], LAYER),
    ]
    picture.arrow((x, 258), (x, 287))
    for y, lines, fill in steps:
        picture.box((x, y), (140, 26), lines, fill)
    for start, end in ((313, 335), (361, 385), (405, 435), (461, 483)):
        picture.arrow((x, start), (x, end))
    picture.arrow((x, 509), (x, 535))
    picture.plus(x, 395)
    picture.plus(x, 545)
    picture.arrow((x, 555), (x, 585))
    for start, end in ((268, 395), (420, 545)):
        picture.arrow(
            (x, start), (x + 100, start), (x + 100, end), (x + 10, end)
        )
    # What predicts the offsets
    picture.arrow((x, 268), (50, 268), (50, 300))
    picture.box((50, 320), (72, 40), ['norm', 'linear'], PALE)
    picture.arrow((50, 340), (50, 348), (100, 348))
    picture.text(20, 372, 'offsets,', size=12, text_anchor='start')
    picture.text(
        20, 388, f'every {arch["interval"]} blocks', 12, text_anchor='start'
    )
    ratios = ', '.join(map(str, arch['mlp_ratios']))
    picture.text(
        20, 610, f'MLP ratios {ratios}; before each', 12, text_anchor='start'
    )
    picture.text(
        20, 626, 'prediction a 3x3 depthwise conv', 12, text_anchor='start'
    )


def draw_mixer(picture: Drawing) -> None:
    """Draws the three branches of the token mixer from the top down."""
    left, xs = 310, (375, 505, 635)
    picture.text(
        left,
        248,
        'Active token mixer',
        size=16,
        text_anchor='start',
        font_weight='bold',
    )
    middle = xs[1]
    picture.text(middle, 276, 'tokens', size=12)
    for x, axis in zip(xs[:2], ('width', 'height')):
        picture.box((x, 346), (118, 44), ['recompose', f'along {axis}'], MIXER)
        picture.arrow((x, 368), (x, 405))
    picture.arrow((middle, 286), (middle, 324))
    picture.arrow((middle, 300), (xs[0], 300), (xs[0], 324))
    picture.arrow((middle, 300), (xs[2], 300), (xs[2], 405))
    for x, name in zip(xs, ('fc_w', 'fc_h', 'fc_c')):
        picture.box((x, 420), (84, 28), [name], LAYER)
    for x in xs:
        picture.arrow((x, 434), (x, 465))
    picture.box(
        (middle, 484),
        (344, 38),
        ['weighted sum', 'weights per image and channel'],
        PALE,
    )
    picture.arrow((middle, 503), (middle, 530))
    picture.box((middle, 545), (84, 28), ['proj'], LAYER)
    picture.arrow((middle, 559), (middle, 590))
    picture.text(middle, 604, 'mixed tokens', size=12)


def draw_recomposition(picture: Drawing) -> None:
    """Draws where a token gets its groups of channels from, along its row."""
    left, top, cell, count = 735, 292, 44, 7
    picture.text(
        left,
        248,
        'Recompose along width',
        size=16,
        text_anchor='start',
        font_weight='bold',
    )
    picture.text(
        left,
        272,
        'each group of channels has an offset of its own',
        size=12,
        text_anchor='start',
    )
    query = 3
    offsets = (-3, -1, 1.5, 3)
    part = cell / len(GROUPS)
    for row in range(3):
        for column in range(count):
            x, y = left + cell * column, top + cell * row
            picture.add(
                'rect',
                x=x,
                y=y,
                width=cell,
                height=cell,
                fill='white' if row == 1 else PALE,
                stroke='#c3c9d2',
            )
    y = top + cell  # the row of the token
    target = left + cell * query + cell / 2, top + 3 * cell + 96
    for g, (offset, color) in enumerate(zip(offsets, GROUPS)):
        low = math.floor(offset)
        share = offset - low
        for column, weight in ((low, 1 - share), (low + 1, share)):
            if weight:
                picture.add(
                    'rect',
                    x=left + cell * (query + column),
                    y=y + part * g,
                    width=cell,
                    height=part,
                    fill=color,
                    fill_opacity=weight,
                )
        x = left + cell * (query + offset) + cell / 2
        slot = target[0] - 60 + 40 * g
        picture.arrow(
            (x, y + part * (g + 1)),
            (x, y + 2 * cell + 14),
            (slot, target[1] - 34),
            color=color,
        )
        picture.add(
            'rect',
            x=slot - 20,
            y=target[1] - 34,
            width=40,
            height=26,
            fill=color,
            stroke='white',
        )
        picture.text(
            slot,
            target[1] + 6,
            f'{offset:+g}'.replace('-', '\u2212'),
            size=12,
            fill=color,
        )
    picture.text(
        left + cell * query + cell / 2, y + cell / 2, '\u2605', size=24
    )
    lines = (
        'Between two tokens the operator interpolates,',
        'outside of the map there are zeros. Offsets are',
        'predicted from the token (\u2605), and have no bound:',
        'the reach is the whole row.',
    )
    for i, line in enumerate(lines):
        picture.text(
            left, target[1] + 40 + 18 * i, line, 12, text_anchor='start'
        )


def draw() -> str:
    """Draws the picture.

    Returns:
        str: The content of an SVG file.
    """
    arch = ActiveMLP.arch_settings['tiny']
    picture = Drawing()
    draw_stages(picture, arch)
    draw_block(picture, arch)
    draw_mixer(picture)
    draw_recomposition(picture)
    return str(picture)


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=ROOT / 'docs/en/architecture.svg',
        help='file to write (default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    write_atomically(args.out, draw().encode())
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
