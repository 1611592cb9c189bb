"""Lessons: notebooks written once as text, and the checks that answer a student."""

from workbench.lessons import cure, find
from workbench.lessons.reply import Reply
from workbench.lessons.text import Lesson, notebook

__all__ = ["Lesson", "Reply", "cure", "find", "notebook"]
