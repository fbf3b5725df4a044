"""The English dialogue patterns of the demo corpus: what is put into them, how they open, go on and close."""

from __future__ import annotations

from hf_monitor.demo.templates import Ending, Pattern, Turn

__all__ = ["CLOSINGS", "OPENINGS", "PATTERNS", "VOCABULARY"]

VOCABULARY: dict[str, tuple[str, ...]] = {
    "name": ("Tom", "Anna", "Mark", "Julia", "Peter", "Emma", "David", "Lucy"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "time": ("nine o'clock", "ten o'clock", "noon", "two o'clock", "half past three", "five o'clock", "half past six"),
    "place": ("library", "park", "museum", "station", "cinema", "market", "swimming pool"),
    "food": ("noodles", "sushi", "pizza", "curry", "tacos", "soup"),
    "item": ("umbrella", "camera", "backpack", "watch", "scarf", "jacket"),
    "color": ("black", "white", "blue", "red", "green", "grey"),
    "city": ("Boston", "Chicago", "Denver", "Seattle", "Miami", "Dallas"),
    "transport": ("train", "bus", "plane"),
    "paper": ("report", "contract", "budget", "invoice", "slides", "survey"),
    "device": ("laptop", "printer", "scanner", "projector", "heater", "phone"),
    "tool": ("laptop", "phone", "desk", "monitor"),
    "hobby": ("tennis", "yoga", "chess", "painting", "guitar", "photography"),
    "symptom": ("a headache", "a cough", "a fever", "a toothache", "back pain", "a sore throat"),
    "span": ("two days", "three days", "a week", "ten days"),
    "count": ("two", "three", "four", "five", "six"),
    "price": ("ten dollars", "twenty dollars", "thirty dollars", "fifty dollars", "eighty dollars"),
    "pet": ("cat", "dog", "rabbit", "parrot"),
    "subject": ("math", "history", "physics", "French"),
    "fault": ("does not turn on", "makes a loud noise", "gets too hot", "keeps stopping"),
}

OPENINGS: dict[str, tuple[tuple[Turn, ...], ...]] = {
    "friend": (
        (
            (
                "B",
                "Hey, good to see you!",
                "Hi there, how have you been?",
                "You look worried. What's up?",
                "You're here too!",
            ),
        ),
        (("B", "I ran into {name9} at the {place9} yesterday.", "{name9} and I watched the game last night!"),),
        (
            ("A", "Hi! What lovely weather today.", "Hey, long time no see!"),
            ("B", "Hi! I was just thinking of you.", "Yes, isn't it great?"),
        ),
        (
            ("A", "Hello? It's me. Can you talk?", "Do you have a minute?", "There's something I want to ask you."),
            ("B", "Sure, tell me.", "Yes, I just had lunch.", "Of course. What is it?"),
        ),
    ),
    "work": (
        (
            (
                "B",
                "Good morning.",
                "Hello, did you have a nice weekend?",
                "It's raining a lot today.",
                "Would you like some coffee?",
            ),
        ),
        (("B", "{name9} is working from home today.", "I stayed late with {name9} last night."),),
        (
            ("A", "Are you busy right now?", "Could I talk to you for a second?", "Hi, is this a good time?"),
            ("B", "Not at all. Go ahead.", "I have a few minutes.", "Sure, what is it?"),
        ),
    ),
    "service": (
        (
            (
                "B",
                "Good afternoon. How may I help you?",
                "Welcome! What can I do for you?",
                "Next, please.",
                "Hello, come on in.",
            ),
        ),
        (("B", "Sorry for the wait. We are very busy today.", "Hello. It's cold outside, isn't it?"),),
        (
            ("A", "Excuse me.", "Hello, can you help me?", "Hi, I have a question."),
            ("B", "Of course. What is it about?", "Yes, please have a seat.", "Certainly. How can I help?"),
        ),
    ),
}

CLOSINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "friend": {
        "A": ("Okay, thanks!", "All right, talk to you later.", "You're the best.", "Okay, see you!"),
        "B": ("Okay!", "All right, talk to you later.", "Take care!", "Okay, see you!"),
    },
    "work": {
        "A": ("All right, thank you.", "Thanks, I appreciate it.", "Okay, got it."),
        "B": ("Okay, got it.", "All right, see you around.", "Sounds good."),
    },
    "service": {
        "A": ("Thank you very much.", "Great, thanks for your help.", "Thanks. Have a nice day!"),
        "B": ("Very well.", "Thank you. Have a nice day!", "You're welcome to ask any time."),
    },
}

PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "meeting up",
        "friend",
        (
            (
                "A",
                "Do you want to meet at the {place} on {day}?",
                "Let's go to the {place} this {day}.",
                "Are you free on {day}? How about the {place}?",
            ),
        ),
        (
            Ending(
                (
                    ("B", "Sure. What time?", "Sounds fun. When should I be there?"),
                    ("A", "Let's say {time}.", "Is {time} all right?"),
                ),
                "{A} and {B} will meet at the {place} on {day} at {time}.",
            ),
            Ending(
                (
                    ("B", "I'm busy then. What about {day2}?", "Could we make it {day2} instead?"),
                    ("A", "No problem. See you on {day2} at {time}.", "{day2} is fine. Come at {time}."),
                ),
                "{A} suggests {day}, but {B} prefers {day2}, so they will meet at the {place} on {day2} at {time}.",
            ),
            Ending(
                (
                    ("B", "I can't, I promised to help {name} that day.", "Sorry, {name} is visiting me then."),
                    ("A", "What a pity. Maybe next time.", "Too bad. Say hello for me."),
                ),
                "{A} wants to go to the {place} on {day}, but {B} already has plans with {name}.",
            ),
        ),
    ),
    Pattern(
        "dinner",
        "friend",
        (
            (
                "A",
                "I'm hungry. Shall we get some {food}?",
                "How about {food} tonight?",
                "I really feel like {food}. Want to come?",
            ),
        ),
        (
            Ending(
                (
                    ("B", "I had that yesterday. Can we have {food2}?", "I'd rather eat {food2}."),
                    ("A", "Fine, {food2} it is.", "Okay, you choose this time."),
                ),
                "{A} wants {food}, but agrees to eat {food2} because {B} prefers it.",
            ),
            Ending(
                (
                    ("B", "Good idea. Can {name} join us?", "Yes! Let's invite {name} too."),
                    ("A", "Sure. We leave at {time}.", "Of course. Be at the door at {time}."),
                ),
                "{A} and {B} will go out for {food} with {name} at {time}.",
            ),
            Ending(
                (
                    ("B", "I have already eaten.", "I'm too tired to go out now."),
                    ("A", "Then how about {day}?", "Maybe on {day} then?"),
                    ("B", "{day} works for me.", "Yes, I'd love that."),
                ),
                "{A} wants to eat {food}, but {B} can't today, so they will go on {day}.",
            ),
        ),
    ),
    Pattern(
        "borrowing",
        "friend",
        (
            (
                "A",
                "Can I borrow your {item}?",
                "I need {item:a}. Could you lend me yours?",
                "Would you mind if I used your {item}?",
            ),
        ),
        (
            Ending(
                (
                    ("B", "Go ahead, but when will I get it back?", "Yes, but I'll need it soon."),
                    ("A", "I'll return it on {day}.", "You'll have it by {day}."),
                ),
                "{A} borrows {B}'s {item} and will return it by {day}.",
            ),
            Ending(
                (
                    ("B", "I'm afraid {name} has it right now.", "I lent it to {name} last week."),
                    ("A", "Then I'll ask {name}.", "Okay, I'll give {name} a call."),
                ),
                "{A} wants to borrow {B}'s {item}, but {name} has it, so {A} will ask {name}.",
            ),
            Ending(
                (
                    ("B", "I have a {color} one and a {color2} one.", "Which one, the {color} or the {color2} one?"),
                    ("A", "The {color2} one, please.", "I'd like the {color2} one."),
                ),
                "{A} borrows the {color2} {item} from {B}.",
            ),
        ),
    ),
    Pattern(
        "birthday present",
        "friend",
        (
            (
                "A",
                "What should I get {name} as a birthday present?",
                "It's almost time for the birthday party of {name}. Any ideas for a present?",
            ),
        ),
        (
            Ending(
                (
                    ("B", "Why not {item:a}?", "I heard the wish was {item:a}."),
                    ("A", "Great, I'll look for one in {city}.", "Perfect. I'm going to {city} anyway."),
                ),
                "{B} advises {A} to buy {item:a} for {name}'s birthday, and {A} will look for one in {city}.",
            ),
            Ending(
                (
                    ("B", "{item:a} would be nice.", "I'd choose {item:a}."),
                    ("A", "I gave one last year.", "I think there's one already."),
                    ("B", "Then take a {color} {item2}.", "How about a {color} {item2} instead?"),
                ),
                "{B} suggests that {A} give {name} a {color} {item2} instead of {item:a}.",
            ),
            Ending(
                (
                    ("B", "Let's buy {item:a} together.", "We could share the cost of {item:a}."),
                    ("A", "Good plan. {price} each?", "Yes, we each pay {price}."),
                ),
                "{A} and {B} will each pay {price} to buy {item:a} for {name}'s birthday.",
            ),
        ),
    ),
    Pattern(
        "hobby",
        "friend",
        (("A", "I take {hobby} lessons every {day} now.", "I've started learning {hobby}. My class is on {day}."),),
        (
            Ending(
                (
                    ("B", "I've always wanted to try it.", "That sounds exciting. May I come along?"),
                    ("A", "Then meet me at the {place} before class.", "Sure, let's go together from the {place}."),
                ),
                "{A} learns {hobby} on {day}, and {B} will meet {A} at the {place} to join the class.",
            ),
            Ending(
                (
                    ("B", "Nice. I prefer {hobby2}.", "Really? I took up {hobby2}."),
                    ("A", "Who teaches you?", "Do you have a teacher?"),
                    ("B", "{name} does.", "I learn it from {name}."),
                ),
                "{A} learns {hobby}, while {B} learns {hobby2} from {name}.",
            ),
        ),
    ),
    Pattern(
        "lost item",
        "friend",
        (
            (
                "A",
                "Have you seen my {color} {item}?",
                "I think I lost my {color} {item}.",
                "I can't find my {color} {item} anywhere.",
            ),
        ),
        (
            Ending(
                (
                    ("B", "Where did you go today?", "Where did you last have it?"),
                    (
                        "A",
                        "I had it at the {place}, but not after the {place2}.",
                        "First I was at the {place}, then at the {place2}.",
                    ),
                    ("B", "Try calling the {place2}.", "You may have left it at the {place2}."),
                ),
                "{A} lost a {color} {item}, and {B} thinks it is at the {place2}.",
            ),
            Ending(
                (
                    ("B", "{name} found it this morning.", "I saw {name} carrying it."),
                    ("A", "What a relief! I'll call right away.", "Really? Then I'll get in touch."),
                ),
                "{A} is looking for a {color} {item}, and {B} says that {name} has it.",
            ),
        ),
    ),
    Pattern(
        "pet",
        "friend",
        (
            (
                "A",
                "I'm flying to {city} on {day}. Could you look after my {pet}?",
                "Nobody can watch my {pet} while I'm in {city}. I leave on {day}.",
            ),
        ),
        (
            Ending(
                (
                    ("B", "I'd be glad to. For how long?", "Sure, when are you coming back?"),
                    ("A", "It's only {span}.", "I'll be away for {span}."),
                ),
                "{B} will take care of {A}'s {pet} for {span} while {A} is in {city}.",
            ),
            Ending(
                (
                    ("B", "I'm allergic. Have you asked {name}?", "I'm away too. {name} might do it."),
                    ("A", "Good thinking, I'll call {name}.", "I'll try that."),
                ),
                "{B} can't look after {A}'s {pet} and tells {A} to ask {name}.",
            ),
        ),
    ),
    Pattern(
        "exam",
        "friend",
        (
            (
                "A",
                "My {subject} exam is on {day} and I don't understand anything.",
                "I'm nervous about the {subject} exam on {day}.",
            ),
        ),
        (
            Ending(
                (
                    ("B", "Let's study together at the library.", "I can explain it to you."),
                    ("A", "Really? Is {time} okay?", "Thanks! Can we start at {time}?"),
                ),
                "{A} is worried about the {subject} exam on {day}, so {B} will help {A} study at {time}.",
            ),
            Ending(
                (
                    ("B", "{name} is good at {subject}.", "Ask {name}, who got the best mark."),
                    ("A", "I will.", "That's a good tip."),
                ),
                "{A} is worried about the {subject} exam on {day}, and {B} tells {A} to ask {name}.",
            ),
        ),
    ),
    Pattern(
        "moving a meeting",
        "work",
        (("A", "Can we move the meeting on {day} at {time}?", "I won't make it to the {time} meeting on {day}."),),
        (
            Ending(
                (
                    ("B", "When would suit you?", "What time is better for you?"),
                    ("A", "I'm free at {time2}.", "{time2:cap} would be perfect."),
                    ("B", "Fine, I'll change it.", "Good, I'll tell everyone."),
                ),
                "{A} asks {B} to move the meeting on {day} from {time} to {time2}.",
            ),
            Ending(
                (
                    ("B", "I'm afraid everyone else has agreed to it.", "The room is booked, so we can't change it."),
                    ("A", "Could {name} go instead?", "Then I'll send {name}."),
                ),
                "The meeting on {day} can't be moved, so {name} will attend instead of {A}.",
            ),
        ),
    ),
    Pattern(
        "deadline",
        "work",
        (
            (
                "A",
                "When will the {paper} be ready?",
                "How is the {paper} coming along?",
                "The boss is asking for the {paper}.",
            ),
        ),
        (
            Ending(
                (
                    ("B", "I'll finish by {time} on {day}.", "You'll get it on {day} at {time}."),
                    ("A", "Please send it by email.", "Good, I'll wait for it."),
                ),
                "{B} will finish the {paper} for {A} by {time} on {day}.",
            ),
            Ending(
                (
                    ("B", "It's too much work for one person.", "It's taking longer than I thought."),
                    ("A", "I'll ask {name} to help you.", "Why don't you work on it with {name}?"),
                    ("B", "Then we can be done by {day}.", "In that case, {day} is possible."),
                ),
                "{B} will finish the {paper} by {day} with the help of {name}.",
            ),
            Ending(
                (
                    ("B", "I'm still working on the {paper2}.", "I had to do the {paper2} first."),
                    ("A", "The {paper} is more urgent.", "Please do the {paper} before that."),
                ),
                "{A} tells {B} to do the {paper} before the {paper2}.",
            ),
        ),
    ),
    Pattern(
        "broken device",
        "work",
        (
            (
                "A",
                "I think the {device} in our office is broken.",
                "The {device} is giving us trouble again.",
                "Could you take a look at the {device}?",
            ),
        ),
        (
            Ending(
                (
                    ("B", "{name} is good with those.", "Last time {name} fixed it."),
                    ("A", "Then I'll talk to {name}.", "Good to know, I'll call {name}."),
                ),
                "{A} will ask {name} to repair the broken {device}.",
            ),
            Ending(
                (
                    ("B", "What's wrong with it?", "What's the problem?"),
                    ("A", "It {fault}.", "Since yesterday, it {fault}."),
                    ("B", "A technician will come on {day}.", "I'll get someone to fix it on {day}."),
                ),
                "{A} says the {device} {fault}, and a technician will come on {day}.",
            ),
        ),
    ),
    Pattern(
        "business trip",
        "work",
        (("A", "I have to go to {city} on {day}.", "The company is sending me to {city} on {day}."),),
        (
            Ending(
                (
                    ("B", "Are you taking the {transport}?", "Did you book the {transport}?"),
                    ("A", "No, the {transport2} is more comfortable.", "I decided to take the {transport2}."),
                ),
                "{A} is going to {city} by {transport2} on {day}.",
            ),
            Ending(
                (
                    ("B", "Are you going alone?", "Who is going with you?"),
                    ("A", "{name} is coming with me.", "I'm traveling with {name}."),
                    ("B", "Try the {food} there.", "Don't miss the {food}, it's famous."),
                ),
                "{A} is going to {city} with {name}, and {B} recommends the {food}.",
            ),
        ),
    ),
    Pattern(
        "days off",
        "work",
        (("A", "I'd like to take {span} off from {day}.", "May I have {span} of vacation starting on {day}?"),),
        (
            Ending(
                (
                    ("B", "Who will do your work?", "Is there somebody to cover for you?"),
                    ("A", "{name} has agreed to do it.", "I've already asked {name}."),
                    ("B", "Then it's fine with me.", "Good. Enjoy your time off."),
                ),
                "{A} will take {span} off from {day} while {name} covers for {A}.",
            ),
            Ending(
                (
                    ("B", "{name} is away that week, too.", "That's when {name} is on vacation."),
                    ("A", "What if I start on {day2}?", "Then could I leave on {day2}?"),
                    ("B", "That's possible.", "Yes, that would work."),
                ),
                "Because {name} is away too, {A}'s vacation will start on {day2} instead of {day}.",
            ),
        ),
    ),
    Pattern(
        "new colleague",
        "work",
        (("A", "Have you met {name}, who joins us on {day}?", "{name} is going to start in our team on {day}."),),
        (
            Ending(
                (
                    ("B", "We should all have {food} together.", "Let's welcome our new colleague with {food}."),
                    ("A", "Good idea. I'll book a table for {time}.", "Nice, let's go at {time}."),
                ),
                "{A} and {B} will have {food} with their new colleague {name} at {time}.",
            ),
            Ending(
                (
                    ("B", "Is there anything to prepare?", "What can I do to help?"),
                    ("A", "Please set up a {tool}.", "We still need a {tool}."),
                ),
                "{A} asks {B} to prepare a {tool} for {name}, who starts on {day}.",
            ),
        ),
    ),
    Pattern(
        "shop",
        "service",
        (("A", "I'm looking for {item:a}.", "Do you sell anything like {item:a}?", "I'd like to buy {item:a}."),),
        (
            Ending(
                (
                    ("B", "We have it in {color} and in {color2}.", "There's a {color} one and a {color2} one."),
                    ("A", "I like the {color} one. How much is it?", "What does the {color} one cost?"),
                    ("B", "It's {price}.", "{price:cap}, please."),
                ),
                "{A} buys a {color} {item} for {price}.",
            ),
            Ending(
                (
                    ("B", "This {color} one is {price}.", "The {color} one here costs {price}."),
                    ("A", "That's too expensive for me.", "I'd like to look somewhere else first."),
                ),
                "{A} does not buy the {color} {item} because {price} is too expensive.",
            ),
            Ending(
                (
                    ("B", "We're sold out until {day}.", "The next ones will arrive on {day}."),
                    ("A", "Please keep one for {name}.", "I'll come then. My name is {name}."),
                ),
                "The shop has no {item} left, so {A} will come back on {day} and reserves one as {name}.",
            ),
        ),
    ),
    Pattern(
        "complaint",
        "service",
        (("A", "I bought this {device} on {day} and it {fault}.", "This {device} {fault}. I got it here on {day}."),),
        (
            Ending(
                (
                    ("B", "Do you have the receipt?", "I'm sorry. May I see the receipt?"),
                    ("A", "Here it is. I'd like my money back.", "Yes, here. I want a refund."),
                ),
                "{A} asks for a refund because the {device} bought on {day} {fault}.",
            ),
            Ending(
                (
                    ("B", "Would you like a new one?", "I'm sorry. Shall I exchange it?"),
                    ("A", "Yes, a {color} one, please.", "Do you have one in {color}? I'd take that."),
                ),
                "{A}'s {device} {fault}, so {A} gets a new {color} one.",
            ),
            Ending(
                (
                    ("B", "We can repair it in {span}.", "The repair takes {span}."),
                    ("A", "And how much will that be?", "What will it cost?"),
                    ("B", "It's {price}.", "That'll be {price}."),
                ),
                "The repair of {A}'s {device} takes {span} and costs {price}.",
            ),
        ),
    ),
    Pattern(
        "table",
        "service",
        (
            (
                "A",
                "A table for {count} on {day} at {time}, please.",
                "I'd like to book a table on {day} at {time}. There will be {count} of us.",
            ),
        ),
        (
            Ending(
                (
                    ("B", "Certainly. What's the name?", "Under what name, please?"),
                    ("A", "It's {name}.", "{name}, please."),
                ),
                "{A} books a table for {count} on {day} at {time} under the name {name}.",
            ),
            Ending(
                (
                    ("B", "We only have a table at {time2}.", "That's full, but {time2} is free."),
                    ("A", "Then we'll come at {time2}.", "That's all right, too."),
                ),
                "{A} books a table for {count} on {day} at {time2} because {time} is full.",
            ),
        ),
    ),
    Pattern(
        "doctor",
        "service",
        (("A", "I've had {symptom} for {span}.", "It's {symptom}. It began {span} ago."),),
        (
            Ending(
                (
                    ("B", "Do you also have {symptom2}?", "Any other problem, like {symptom2}?"),
                    ("A", "Yes, mostly at night.", "I do, a little."),
                    (
                        "B",
                        "Take this medicine and come back on {day}.",
                        "I'll give you something. See me again on {day}.",
                    ),
                ),
                "{A} has {symptom} and {symptom2}, gets medicine and will come back on {day}.",
            ),
            Ending(
                (
                    ("B", "Take these pills for {span2}.", "You need this medicine for {span2}."),
                    ("A", "Can I do sports?", "Am I allowed to go jogging?"),
                    ("B", "No, you must rest.", "Better not. Stay in bed."),
                ),
                "{A} has {symptom} and must rest and take medicine for {span2}.",
            ),
        ),
    ),
    Pattern(
        "ticket",
        "service",
        (("A", "Is there a {transport} to {city} on {day}?", "I need a {transport} ticket to {city} for {day}."),),
        (
            Ending(
                (
                    ("B", "There's one at {time} and one at {time2}.", "You can leave at {time} or at {time2}."),
                    ("A", "I'll take the one at {time2}.", "{time2:cap} is better."),
                ),
                "{A} buys a {transport} ticket to {city} for {day} at {time2}.",
            ),
            Ending(
                (
                    ("B", "That day is sold out. {day2} is possible.", "Nothing left, only on {day2}."),
                    ("A", "Then give me {count} tickets for that day.", "Okay, {count} tickets, please."),
                ),
                "{day} is sold out, so {A} buys {count} {transport} tickets to {city} for {day2}.",
            ),
        ),
    ),
    Pattern(
        "library",
        "service",
        (("A", "I'd like to borrow a {subject} book.", "Do you have an easy book about {subject}?"),),
        (
            Ending(
                (
                    ("B", "Yes, you can keep it for {span}.", "Here. The loan period is {span}."),
                    ("A", "Can I have it longer?", "May I extend that?"),
                    ("B", "Just call us before {day}.", "Yes, if you tell us before {day}."),
                ),
                "{A} borrows a {subject} book for {span} and can extend it before {day}.",
            ),
            Ending(
                (
                    ("B", "It's out until {day}.", "Someone will bring it back on {day}."),
                    ("A", "Then I'll take a {subject2} book.", "Do you have one on {subject2}? I'll take that."),
                ),
                "The {subject} book is out until {day}, so {A} takes a {subject2} book.",
            ),
        ),
    ),
)
