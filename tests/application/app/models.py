"""Models of SQLAlchemy 2.0."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, String, Table, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Identified:
    id: Mapped[int] = mapped_column(primary_key=True)


post_labels = Table(
    "post_labels",
    Base.metadata,
    Column("post_id", ForeignKey("posts.id"), primary_key=True),
    Column("label_id", ForeignKey("labels.id"), primary_key=True),
)


class Team(Identified, Base):
    __tablename__ = "teams"

    name: Mapped[str] = mapped_column(String(80))
    founded_at: Mapped[datetime]
    users: Mapped[list[User]] = relationship(back_populates="team")


class User(Identified, Base):
    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(120))
    handle: Mapped[str] = mapped_column(String(40), unique=True)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    is_active: Mapped[bool]
    seen_at: Mapped[datetime]
    team: Mapped[Team | None] = relationship(back_populates="users")
    posts: Mapped[list[Post]] = relationship(back_populates="author")


class Post(Identified, Base):
    __tablename__ = "posts"
    __table_args__ = (Index("ix_posts_author_id_published_at", "author_id", "published_at"),)

    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    slug: Mapped[str] = mapped_column(String(80))
    status: Mapped[str] = mapped_column(String(10))
    published_at: Mapped[datetime]
    author: Mapped[User] = relationship(back_populates="posts")
    comments: Mapped[list[Comment]] = relationship(back_populates="post")
    labels: Mapped[list[Label]] = relationship(secondary=post_labels)


class Label(Identified, Base):
    __tablename__ = "labels"

    text: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime]
    posts: Mapped[list[Post]] = relationship(secondary=post_labels, viewonly=True)


class Comment(Identified, Base):
    __tablename__ = "comments"
    __table_args__ = (
        UniqueConstraint("post_id", "number"),
        # all of a post
        Index("ix_comments_post_id", "post_id"),
    )

    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"))
    number: Mapped[int]
    author_email: Mapped[str] = mapped_column(String(80))
    url: Mapped[str] = mapped_column(String(60))
    written_at: Mapped[datetime]
    post: Mapped[Post] = relationship(back_populates="comments")
