# Copyright (c) mmactive contributors. All rights reserved.
"""A page to upload images to and see what models predict, and why.

It shows the classes of a classifier, the boxes and masks of a detector and the
areas of a segmentor; and, where one clicks on the image that a network of
ActiveMLP's token mixers sees, the positions that they look at from there.

    python demo/web_demo.py --model CONFIG CHECKPOINT --model CONFIG CHECKPOINT
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmactive.engine.inference import ERRORS, Predictor
from mmactive.engine.offsets import (
    group_by_stage,
    plot_positions,
    record_offsets,
    to_picture,
)

try:
    import gradio as gr
except ImportError as error:
    sys.exit(f'web_demo.py: error: {error}; pip install gradio')

MIN_SIZE = 384
"""Shorter side in pixels to which small images are enlarged."""


def parse_args() -> Namespace:
    """Parses the command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--model',
        nargs='+',
        action='append',
        required=True,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a model to choose: config file or name of the model zoo, and '
        "checkpoint; default: the model zoo's. May be given several times",
    )
    parser.add_argument(
        '--device', help='as in cuda:0; default: the best that is there'
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to serve at; 0.0.0.0 lets other machines in',
    )
    parser.add_argument('--port', type=int, default=7860)
    args = parser.parse_args()
    for model in args.model:
        if len(model) > 2:
            parser.error(
                f'--model takes a config and a checkpoint, but got {model}'
            )
    return args


@dataclass
class Look:
    """What a network has seen, and where it has looked.

    Attributes:
        view (np.ndarray): The image as the backbone saw it, RGB from 0 to 1.
        stages (dict): Offsets of the blocks by stage and name, none of a
            network without token mixers that predict some.
        token (tuple[float]): Which token to look from, as fractions of width
            and height. Defaults to that in the centre.
    """

    view: np.ndarray
    stages: Dict[str, Dict[str, Tensor]]
    token: Tuple[float, float] = (0.5, 0.5)

    def draw_view(self) -> np.ndarray:
        """Draws the view, as large as it is easy to click on."""
        view = (self.view * 255).astype(np.uint8)
        scale = get_scale(view)
        return view.repeat(scale, axis=0).repeat(scale, axis=1)

    def describe(self) -> str:
        """Says which token it is."""
        if not self.stages:
            return 'This network predicts no offsets to be shown here.'
        x, y = self.token
        return (
            f'Star: the token at {x:.0%} of the width and {y:.0%} of the '
            'height. Points: where it looks, a panel a block.'
        )

    def draw_positions(self, stage: str) -> Optional[np.ndarray]:
        """Draws where the token looks in the blocks of a stage."""
        if stage not in self.stages:
            return None
        blocks = self.stages[stage]
        columns = 2 if len(blocks) <= 4 else 3
        figure = plot_positions(self.view, blocks, self.token, columns)
        figure.set_dpi(120)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3]


def get_scale(image: np.ndarray) -> int:
    """Returns how many times to enlarge a small image."""
    return max(1, round(MIN_SIZE / min(image.shape[:2])))


def predict_and_look(
    predictor: Predictor, image: np.ndarray
) -> Tuple[BaseDataElement, Look]:
    """Predicts, and records what the backbone sees and where it looks.

    Args:
        predictor (Predictor): Of any task.
        image (np.ndarray): BGR of shape (H, W, 3), uint8.

    Returns:
        tuple: The library's data sample, and what was recorded.
    """
    model = predictor.model
    inputs: List[Tensor] = []
    with ExitStack() as stack:
        handle = model.backbone.register_forward_pre_hook(
            lambda module, args: inputs.append(args[0][0])
        )
        stack.callback(handle.remove)
        try:
            offsets = stack.enter_context(record_offsets(model))
        except ValueError:  # There are none to record.
            offsets = {}
        sample = predictor.predict(image)
        view = to_picture(inputs[-1], model.data_preprocessor)
        return sample, Look(view, group_by_stage(offsets))


def build_app(predictors: Dict[str, Predictor]) -> gr.Blocks:
    """Builds the page.

    Args:
        predictors (dict[str, Predictor]): The models to choose from, by name.
    """

    def predict(
        name: str, image: Optional[np.ndarray], min_score: float
    ) -> tuple:
        predictor = predictors[name]
        detects = predictor.task == 'detection'
        classifies = predictor.task == 'classification'
        title = 'Classes' if classifies else 'Areas: share of the pixels'
        shares, rows, picture, view, look = None, None, None, None, None
        if image is not None:
            bgr = np.ascontiguousarray(image[..., ::-1])
            sample, look = predict_and_look(predictor, bgr)
            found = predictor.describe(sample)
            if classifies:
                shares = {
                    predictor.name(label): score
                    for label, score in enumerate(found['pred_scores'])
                }
            elif detects:
                rows = [
                    [name, f'{score:.2f}', *(round(v) for v in box)]
                    for name, score, box in zip(
                        found['classes'], found['scores'], found['bboxes']
                    )
                    if score > min_score
                ]
            else:
                shares = found['classes']
            picture = predictor.draw(bgr, sample, min_score, get_scale(image))
            view = look.draw_view()
        stages = list(look.stages) if look else []
        stage = stages[-2] if len(stages) > 1 else None
        return (
            picture,
            gr.Label(shares, label=title, visible=not detects),
            gr.Dataframe(rows, visible=detects),
            gr.Slider(visible=detects),
            view,
            gr.Radio(stages, value=stage, visible=bool(stages)),
            look.describe() if look else '',
            look.draw_positions(stage) if look else None,
            look,
        )

    def click(
        look: Look, stage: str, event: gr.SelectData
    ) -> Tuple[str, Optional[np.ndarray], Look]:
        height, width = look.draw_view().shape[:2]
        x, y = event.index
        look.token = min(x / width, 0.999), min(y / height, 0.999)
        return look.describe(), look.draw_positions(stage), look

    def choose_stage(look: Optional[Look], stage: str) -> Optional[np.ndarray]:
        return look.draw_positions(stage) if look else None

    with gr.Blocks(title='mmactive', analytics_enabled=False) as app:
        state = gr.State()
        # Nothing may lie over what is clicked on.
        plain = dict(
            interactive=False, show_label=False, buttons=[], format='png'
        )
        gr.Markdown(
            '# mmactive\nUpload an image and see what a model predicts.'
        )
        with gr.Row():
            with gr.Column():
                names = list(predictors)
                model = gr.Dropdown(names, label='Model', elem_id='model')
                image = gr.Image(label='Image', elem_id='image', height=420)
                min_score = gr.Slider(
                    0, 1, 0.3, label='Least score that is shown'
                )
            with gr.Column():
                picture = gr.Image(
                    label='Prediction',
                    interactive=False,
                    buttons=['download', 'fullscreen'],
                    elem_id='prediction',
                    height=420,
                )
                shares = gr.Label(num_top_classes=5, elem_id='classes')
                table = gr.Dataframe(
                    headers=['class', 'score', 'x1', 'y1', 'x2', 'y2'],
                    label='Objects',
                    elem_id='objects',
                )
        gr.Markdown(
            '## Where it looks\nClick on the image as the network sees it, '
            'and see where the token there fetches its channels from.'
        )
        with gr.Row():
            with gr.Column():
                view = gr.Image(elem_id='view', **plain)
                stage = gr.Radio([], label='Stage', elem_id='stage')
            with gr.Column():
                token = gr.Markdown(elem_id='token')
                positions = gr.Image(elem_id='positions', **plain)
        gr.on(
            [app.load, image.change, model.change, min_score.release],
            predict,
            [model, image, min_score],
            [
                *(picture, shares, table, min_score),
                *(view, stage, token, positions, state),
            ],
        )
        view.select(click, [state, stage], [token, positions, state])
        stage.input(choose_stage, [state, stage], positions)
    return app


def main() -> None:
    """Runs the command."""
    args = parse_args()
    predictors = {}
    try:
        for model in args.model:
            name = Path(model[0]).stem
            predictors[name] = Predictor(*model, device=args.device)
    except ERRORS as error:
        sys.exit(f'web_demo.py: error: {" ".join(str(error).split())}')
    app = build_app(predictors)
    app.launch(server_name=args.host, server_port=args.port)


if __name__ == '__main__':
    main()
