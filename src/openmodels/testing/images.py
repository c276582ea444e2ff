"""Conformance: images in messages are accepted, or refused by name."""

from __future__ import annotations

from base64 import b64decode

import pytest

from openmodels.errors import OpenModelsError, UnsupportedFeature
from openmodels.images import Image
from openmodels.testing.driver import Driver, Spy
from openmodels.testing.suite import Suite
from openmodels.types.messages import Message, system, user

# The smallest picture there is: one red pixel.
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


class ImageTests(Suite):
    """Tests of images in messages."""

    def test_image_is_taken_or_refused(self, ask: Driver, spy: Spy) -> None:
        """A vision model answers, and its parts stay in order; any other model refuses."""
        messages = [system("Be brief."), user("What is this?", Image(b64decode(_PIXEL)), "And why?")]
        options = self.calm(ask.model)
        if "images" not in ask.model.backend.features:
            with pytest.raises(UnsupportedFeature, match="'images'") as refused:
                ask(messages, **options)
            assert ask.model.backend.name in str(refused.value)
            assert spy.requests == []
        elif ask.model.capabilities.images is False:
            with pytest.raises(UnsupportedFeature, match="'images'"):
                ask(messages, **options)
        else:
            try:
                reply = ask(messages, **options).reply
            except OpenModelsError as error:  # a server's model may be of text alone
                named = error.reference
            else:
                assert reply.text
                named = ask.model.reference
                self.proves(ask.model, "images")
            assert named == ask.model.reference
            assert list(spy.requests[-1].messages) == messages

    def test_image_belongs_to_the_user(self, ask: Driver, spy: Spy) -> None:
        """Images in messages of other roles are refused; the error names the message."""
        wrong = {"role": "assistant", "content": [Image(b64decode(_PIXEL))]}
        with pytest.raises(ValueError, match=r"messages\[1\]"):
            ask(["hello", wrong])
        assert spy.requests == []

    def test_parts_may_be_spelled_as_openai_does(self, ask: Driver, spy: Spy) -> None:
        """Parts in the form of OpenAI's API give the same message."""
        address = f"data:image/png;base64,{_PIXEL}"
        parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": address}}]
        message = Message.model_validate({"role": "user", "content": parts})
        assert message == user("x", message.images[0])
        assert message.images[0].address == address
        with pytest.raises(ValueError, match="neither text nor an image"):
            ask([{"role": "user", "content": [{"type": "input_audio"}]}])
        assert spy.requests == []
