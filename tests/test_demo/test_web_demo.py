# Copyright (c) mmactive contributors. All rights reserved.
"""demo/web_demo.py, looked at with Chromium as a visitor does."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import deque

import cv2
import numpy as np
import pytest

from .conftest import CLASSES, DEMO, ROOT, list_commands

pytest.importorskip('gradio')
webdriver = pytest.importorskip('selenium.webdriver')

from selenium.common.exceptions import (  # noqa: E402
    StaleElementReferenceException,
    WebDriverException,
)

WAIT = 60  # seconds, on a machine that does other things


@pytest.fixture(scope='module')
def address(models):
    """Serves a model of each task; returns where."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    config, checkpoint = models['classifier']
    (command,) = list_commands(
        'web_demo.py', CONFIG=config, CHECKPOINT=checkpoint
    )
    for kind in ('detector', 'segmentor'):
        command += ['--model', *models[kind]]
    command += ['--port', str(port), '--device', 'cpu']
    process = subprocess.Popen(
        [sys.executable, '-u', *command],
        cwd=DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if f':{port}' in line:
            break
    else:
        pytest.fail(''.join(lines))
    # Nobody reads what else it prints, which must not fill the pipe.
    threading.Thread(
        target=deque, args=(process.stdout, 0), daemon=True
    ).start()
    yield f'http://127.0.0.1:{port}'
    process.terminate()
    process.wait()


@pytest.fixture(scope='module')
def browser():
    chromium, driver = map(shutil.which, ('chromium', 'chromedriver'))
    if not (chromium and driver):
        pytest.skip('needs chromium and chromedriver')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Chromium asks for that of root, as in containers.
    flags = ['--no-sandbox'] if os.geteuid() == 0 else []
    for flag in (
        *('--headless=new', '--disable-gpu', '--no-proxy-server'),
        *('--disable-dev-shm-usage', '--window-size=1300,1500', *flags),
    ):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=driver)
    try:
        browser = webdriver.Chrome(options=options, service=service)
    except WebDriverException as error:
        pytest.skip(f'Chromium does not start: {error.msg}')
    browser.implicitly_wait(WAIT)
    yield browser
    browser.quit()


class Page:
    """What a visitor does and sees."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)

    def find(self, selector):
        return self.browser.find_element('css selector', selector)

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.browser,
            WAIT,
            ignored_exceptions=[StaleElementReferenceException],
        )
        return waiting.until(lambda _: condition())

    def get_image(self, name):
        return self.find(f'#{name} img').get_attribute('src')

    def get_token(self):
        """Returns where the token is, in hundredths of width and height."""
        shares = re.findall(r'(\d+)%', self.find('#token').text)
        return [int(share) for share in shares]

    def upload(self, path):
        self.find('#image input[type=file]').send_keys(str(path))

    def choose_model(self, name):
        self.find('#model input').click()
        self.find(f'[role=option][aria-label="{name}"]').click()

    def click_view(self, x, y):
        """Clicks at fractions of the width and height."""
        image = self.find('#view img')
        self.browser.execute_script(
            'arguments[0].scrollIntoView({block: "center"})', image
        )
        size = image.size
        offset = (
            round((x - 0.5) * size['width']),
            round((y - 0.5) * size['height']),
        )
        actions = webdriver.ActionChains(self.browser)
        actions.move_to_element_with_offset(image, *offset).click().perform()


def test_upload_and_click(browser, address, tmp_path):
    image = np.full((128, 128, 3), 60, np.uint8)
    image[30:80, 40:100] = 200
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    page = Page(browser, address)

    page.upload(tmp_path / 'image.png')
    for kind, names in CLASSES.items():
        if kind != 'classifier':
            page.choose_model(kind)
        # From the token in the centre, until there is a click
        page.wait(lambda: page.get_token() == [50, 50])
        assert page.get_image('prediction')
        if kind != 'detector':
            text = page.find('#classes').text
            assert any(name in text for name in names)
            assert '%' in text
        before = page.get_image('positions')
        page.click_view(0.2, 0.8)
        page.wait(lambda: page.get_image('positions') != before)  # noqa: B023
        assert page.get_token() == pytest.approx([20, 80], abs=1)

    # Another stage, of the same token
    before = page.get_image('positions')
    page.find('#stage input[value="0"]').click()
    page.wait(lambda: page.get_image('positions') != before)


def test_bad_model_is_named():
    result = subprocess.run(
        [sys.executable, DEMO / 'web_demo.py', '--model', 'no.py'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('web_demo.py: error: ')
    assert "'no.py'" in result.stderr
    assert 'Traceback' not in result.stderr
